//! What must a client hear? Exactly the tokens that follow from its prompt, and an end.

use std::collections::BTreeMap;

use super::{
    Random,
    stage::{VOCABULARY, follows},
};
use crate::request::{
    FinishReason, GenerateError, GenerateEvent, GenerateRequest, Priority, RequestId, Sampling,
};

/// A request, and what came of it.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) node: usize,
    /// Which start of that node's program it asked.
    pub(super) start: u32,
    pub(super) request: GenerateRequest,
    pub(super) heard: Vec<u32>,
    pub(super) end: Option<Result<FinishReason, GenerateError>>,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Clients {
    pub(super) by_id: BTreeMap<RequestId, Client>,
}

/// A request as a client may make it: some share their beginning.
pub(super) fn request(random: &mut Random) -> GenerateRequest {
    let mut prompt: Vec<u32> =
        (0..random.between(0, 3) * 16).map(|token| token as u32 % 7).collect();
    let own = random.between(1, 40);
    prompt.extend((0..own).map(|_| random.between(0, u64::from(VOCABULARY)) as u32));
    GenerateRequest {
        prompt,
        sampling: Sampling::default(),
        max_tokens: random.between(1, 60) as u32,
        stop_tokens: if random.chance(500) { vec![VOCABULARY - 1] } else { vec![] },
        priority: random.one_of(&[Priority::Low, Priority::Normal, Priority::High]).unwrap(),
    }
}

impl Clients {
    /// A client is told something: it must be what follows.
    pub(super) fn hear(&mut self, id: RequestId, event: GenerateEvent) {
        let client = self.by_id.get_mut(&id).expect("a client that asked");
        assert!(client.end.is_none(), "{id:?} hears {event:?} after its end");
        let done = |client: &Client| {
            let stopped =
                client.heard.last().is_some_and(|t| client.request.stop_tokens.contains(t));
            (stopped, client.heard.len() == client.request.max_tokens as usize)
        };
        match event {
            GenerateEvent::Token { id: token, .. } => {
                assert_eq!(done(client), (false, false), "{id:?} hears more than it asked for");
                let all = [client.request.prompt.as_slice(), &client.heard].concat();
                let index = client.heard.len();
                assert_eq!(
                    token,
                    follows(&all),
                    "{id:?}: token {index} is not the one that follows"
                );
                client.heard.push(token);
            }
            GenerateEvent::Finished(FinishReason::Stop) => {
                assert!(done(client).0, "{id:?} ends early");
                client.end = Some(Ok(FinishReason::Stop));
            }
            GenerateEvent::Finished(reason) => {
                assert!(done(client).1, "{id:?} ends early");
                client.end = Some(Ok(reason));
            }
            GenerateEvent::Failed(error) => {
                assert!(!matches!(error, GenerateError::Stage { .. }), "{id:?}: {error}");
                client.end = Some(Err(error));
            }
        }
    }
}
