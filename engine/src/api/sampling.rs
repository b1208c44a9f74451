//! How tokens are to be chosen: OpenAI's parameters, and those that vLLM added to them.

use serde_json::Value;

use super::{ask::random, error::ApiError, params::Params};
use crate::request::{LOGIT_BIAS_MAX, Sampling};

const PENALTY: &str = "a number from -2 to 2";

/// Takes all parameters of sampling but `logprobs`, which the endpoints spell differently.
pub(super) fn take(params: &mut Params) -> Result<Sampling, ApiError> {
    let temperature = params.number("temperature", "a number from 0 to 2", 0.0..=2.0)?;
    let top_p = params.number("top_p", "a number from 0 to 1", 0.0..=1.0)?;
    let min_p = params.number("min_p", "a number from 0 to 1", 0.0..=1.0)?;
    let presence = params.number("presence_penalty", PENALTY, -2.0..=2.0)?;
    let frequency = params.number("frequency_penalty", PENALTY, -2.0..=2.0)?;
    let repetition = params.number("repetition_penalty", "a number from 0.01 to 2", 0.01..=2.0)?;
    let top_k = params.take("top_k", "an integer: 0 or -1 for all tokens, or how many", top_k)?;
    let seed = params.take("seed", "an integer of 64 bits", |value| {
        value.as_u64().or_else(|| value.as_i64().map(i64::cast_unsigned))
    })?;
    let bias = "an object of at most 1024 token ids, each with a number from -100 to 100";
    let logit_bias = params.take("logit_bias", bias, logit_bias)?;
    Ok(Sampling {
        temperature: temperature.unwrap_or(1.0) as f32,
        top_k: top_k.unwrap_or(0),
        // 0 asks for the likeliest token alone.
        top_p: (top_p.unwrap_or(1.0) as f32).max(f32::MIN_POSITIVE),
        min_p: min_p.unwrap_or(0.0) as f32,
        repetition_penalty: repetition.unwrap_or(1.0) as f32,
        presence_penalty: presence.unwrap_or(0.0) as f32,
        frequency_penalty: frequency.unwrap_or(0.0) as f32,
        logit_bias: logit_bias.unwrap_or_default(),
        seed: seed.unwrap_or_else(random),
        logprobs: None,
    })
}

fn top_k(value: &Value) -> Option<u32> {
    match value.as_i64()? {
        -1 => Some(0),
        k => u32::try_from(k).ok(),
    }
}

fn logit_bias(value: &Value) -> Option<Vec<(u32, f32)>> {
    let biases = value.as_object().filter(|biases| biases.len() <= LOGIT_BIAS_MAX)?;
    let one = |(token, bias): (&String, &Value)| {
        let bias = bias.as_f64().filter(|bias| (-100.0..=100.0).contains(bias))?;
        Some((token.parse().ok()?, bias as f32))
    };
    biases.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Result<Sampling, ApiError> {
        let mut params = Params::parse(body.as_bytes())?;
        let sampling = take(&mut params)?;
        params.finish(&[], &[])?;
        Ok(sampling)
    }

    #[test]
    fn every_parameter_arrives() {
        let sampling = read(
            r#"{"temperature": 0.5, "top_k": 40, "top_p": 0, "min_p": 0.05, "seed": -1,
                "repetition_penalty": 1.1, "presence_penalty": -2, "frequency_penalty": 0.25,
                "logit_bias": {"50256": -100, "7": 1.5}}"#,
        )
        .unwrap();
        let expected = Sampling {
            temperature: 0.5,
            top_k: 40,
            top_p: f32::MIN_POSITIVE,
            min_p: 0.05,
            repetition_penalty: 1.1,
            presence_penalty: -2.0,
            frequency_penalty: 0.25,
            logit_bias: vec![(50256, -100.0), (7, 1.5)],
            seed: u64::MAX,
            logprobs: None,
        };
        assert_eq!(sampling, expected);
        assert!(sampling.is_possible());
        let seed = sampling.seed;
        assert_eq!(
            Sampling { seed, ..read(r#"{"top_k": -1}"#).unwrap() },
            Sampling { seed, ..Sampling::default() }
        );
    }

    #[test]
    fn what_cannot_be_is_named() {
        for (name, value) in [
            ("top_k", "-2"),
            ("top_k", "1.5"),
            ("min_p", "1.01"),
            ("presence_penalty", "2.1"),
            ("frequency_penalty", r#""0""#),
            ("repetition_penalty", "0"),
            ("logit_bias", "[]"),
            ("logit_bias", r#"{"a": 1}"#),
            ("logit_bias", r#"{"-5": 1}"#),
            ("logit_bias", r#"{"5": 101}"#),
        ] {
            match read(&format!(r#"{{"{name}": {value}}}"#)) {
                Err(ApiError::Invalid { param, .. }) => assert_eq!(param, name),
                other => panic!("{name}: {other:?}"),
            }
        }
    }
}
