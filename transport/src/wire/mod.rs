//! What goes over the wire, as data: offsets, parsing that trusts nothing, encoding.
//!
//! Contract: no module here keeps state. Layout: `preamble` and `hello` open a connection, `header`
//! goes before every frame, `activation` is the archive inside an activation's message.

pub mod activation;
pub mod header;
pub mod hello;
pub mod preamble;
