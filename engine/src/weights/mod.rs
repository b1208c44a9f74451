//! Which tensors are mine, and how do they get into memory?
