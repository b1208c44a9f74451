//! Rotary position embedding, with Llama 3's scaling.

use mlx_rs::{Array, error::Exception, fast};

/// How positions turn queries and keys.
pub struct Rope {
    head_dim: i32,
    base: f32,
    /// Wavelengths instead of powers of the base, where a scaling asks for it.
    frequencies: Option<Array>,
}

/// Llama 3's scaling: long wavelengths are stretched by `factor`, short ones left alone.
#[derive(Debug, Clone, Copy)]
pub struct Llama3Scaling {
    /// By how much.
    pub factor: f64,
    /// Wavelengths longer than `original_context / low_frequency_factor` are stretched fully.
    pub low_frequency_factor: f64,
    /// Wavelengths shorter than `original_context / high_frequency_factor` are left alone.
    pub high_frequency_factor: f64,
    /// Context length the model was trained with before.
    pub original_context: f64,
}

impl Rope {
    /// Plain rotary embedding.
    #[must_use]
    pub fn new(head_dim: i32, base: f32) -> Self {
        Self { head_dim, base, frequencies: None }
    }

    /// With Llama 3's scaling (the formula of the Llama 3.1 reference implementation).
    #[must_use]
    pub fn with_llama3(head_dim: i32, base: f32, scaling: Llama3Scaling) -> Self {
        let low = scaling.original_context / scaling.low_frequency_factor;
        let high = scaling.original_context / scaling.high_frequency_factor;
        let frequencies: Vec<f32> = (0..head_dim / 2)
            .map(|i| {
                // MLX wants the inverse of the angular frequency: base^(2i/d).
                let period = f64::from(base).powf(f64::from(2 * i) / f64::from(head_dim));
                let wavelength = 2.0 * std::f64::consts::PI * period;
                let scaled = if wavelength > low {
                    period * scaling.factor
                } else if wavelength < high {
                    period
                } else {
                    let smooth = (scaling.original_context / wavelength
                        - scaling.low_frequency_factor)
                        / (scaling.high_frequency_factor - scaling.low_frequency_factor);
                    period / ((1.0 - smooth) / scaling.factor + smooth)
                };
                scaled as f32
            })
            .collect();
        let frequencies = Array::from_slice(&frequencies, &[head_dim / 2]);
        Self { head_dim, base, frequencies: Some(frequencies) }
    }

    /// Turns `x` (`[1, heads, tokens, head_dim]`), whose first token stands at `position`.
    ///
    /// # Errors
    /// What MLX says.
    pub fn forward(&self, x: &Array, position: i32) -> Result<Array, Exception> {
        let base = self.frequencies.is_none().then_some(self.base);
        fast::rope(x, self.head_dim, false, base, 1.0, position, self.frequencies.as_ref())
    }
}
