//! From the first byte until both sides know each other (PROTOCOL.md §1).
//!
//! ```text
//! initiator: preamble → ← preamble, message 1 → ← message 2, [decide] message 3 →
//! responder: ← preamble, preamble → ← message 1, message 2 → ← message 3, [decide]
//! ```
//!
//! Whoever drives it reads exactly [`Handshake::wanted`] bytes at a time, so no byte of the frames
//! that follow is swallowed, and is asked once whether the peer is welcome.

use snow::{Builder, HandshakeState};

use super::error::{HandshakeError, Refusal};
use crate::identity::{ClusterKey, Identity, NodeId};
use crate::limits::{HANDSHAKE_BYTES_MAX, NOISE_MESSAGE_BYTES_MAX, PREAMBLE_BYTES};
use crate::wire::hello::Hello;
use crate::wire::preamble::{self, Pattern};

/// Which side one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// It connected.
    Initiator,
    /// It accepted.
    Responder,
}

/// A session that is to go on over the socket of this handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Resume {
    pub(crate) session: u64,
    /// The number of the socket.
    pub(crate) epoch: u32,
}

/// What this node brings into every handshake.
pub(crate) struct Local {
    pub(crate) identity: Identity,
    /// With one, pattern 1; without, pattern 2.
    pub(crate) cluster_key: Option<ClusterKey>,
    pub(crate) encrypt: bool,
    pub(crate) frame_payload_max: u32,
    pub(crate) name: String,
    pub(crate) software: String,
    /// Where it listens.
    pub(crate) port: u16,
}

impl Local {
    fn pattern(&self) -> Pattern {
        if self.cluster_key.is_some() { Pattern::ClusterKey } else { Pattern::FirstUse }
    }

    fn hello(&self, resume: Option<Resume>) -> Hello {
        let Resume { session, epoch } = resume.unwrap_or(Resume { session: 0, epoch: 1 });
        Hello {
            node: *self.identity.node_id().as_bytes(),
            session,
            epoch,
            port: self.port,
            encrypt: u8::from(self.encrypt),
            frame_payload_max: self.frame_payload_max,
            name: self.name.clone(),
            software: self.software.clone(),
        }
    }
}

/// What a handshake comes to.
pub(crate) struct Established {
    pub(crate) role: Role,
    pub(crate) node: NodeId,
    pub(crate) hello: Hello,
    pub(crate) session: u64,
    /// The number of the socket in its session: 1 if the session is new.
    pub(crate) epoch: u32,
    pub(crate) sealed: bool,
    /// Seals what this side sends.
    pub(crate) sending_key: [u8; 32],
    /// Opens what the other side sends.
    pub(crate) receiving_key: [u8; 32],
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Preamble,
    /// The length of Noise message `1..=3`.
    Length(u8),
    Message(u8),
    /// Instead of a message: a byte that says why there is none.
    Refusal,
    /// Somebody has to say whether the peer is welcome.
    Decide,
    Done,
    Failed,
}

pub(crate) struct Handshake {
    role: Role,
    pattern: Pattern,
    noise: Option<Box<HandshakeState>>,
    step: Step,
    inbox: Vec<u8>,
    wanted: usize,
    outbox: Vec<u8>,
    written: usize,
    peer: Option<(NodeId, Hello)>,
    /// What the initiator wants to go on with.
    resume: Option<Resume>,
}

impl Handshake {
    pub(crate) fn new(role: Role, local: &Local) -> Self {
        let pattern = local.pattern();
        let mut outbox = Vec::with_capacity(HANDSHAKE_BYTES_MAX / 2);
        if role == Role::Initiator {
            outbox.extend(preamble::encode(pattern));
        }
        Self {
            role,
            pattern,
            noise: None,
            step: Step::Preamble,
            inbox: Vec::with_capacity(NOISE_MESSAGE_BYTES_MAX),
            wanted: PREAMBLE_BYTES,
            outbox,
            written: 0,
            peer: None,
            resume: None,
        }
    }

    pub(crate) fn role(&self) -> Role {
        self.role
    }

    /// How many bytes to read next: never more. Zero when nothing is to be read now.
    pub(crate) fn wanted(&self) -> usize {
        self.wanted - self.inbox.len()
    }

    /// Bytes to write.
    pub(crate) fn transmit(&self) -> &[u8] {
        &self.outbox[self.written..]
    }

    pub(crate) fn handle_written(&mut self, len: usize) {
        self.written += len;
        if self.written >= self.outbox.len() {
            self.outbox.clear();
            self.written = 0;
        }
    }

    /// Takes bytes, at most [`wanted`](Self::wanted). After an error there may still be something
    /// to transmit, which tells the peer why.
    pub(crate) fn handle_bytes(
        &mut self,
        bytes: &[u8],
        local: &Local,
    ) -> Result<(), HandshakeError> {
        debug_assert!(bytes.len() <= self.wanted());
        self.inbox.extend_from_slice(bytes);
        if self.inbox.len() < self.wanted || self.wanted == 0 {
            return Ok(());
        }
        let inbox = std::mem::take(&mut self.inbox);
        let taken = self.take(&inbox, local);
        self.inbox = inbox;
        self.inbox.clear();
        if taken.is_err() {
            self.step = Step::Failed;
            self.wanted = 0;
        }
        taken
    }

    fn expect(&mut self, step: Step, wanted: usize) {
        self.step = step;
        self.wanted = wanted;
    }

    fn take(&mut self, bytes: &[u8], local: &Local) -> Result<(), HandshakeError> {
        match self.step {
            Step::Preamble => self.take_preamble(bytes, local),
            Step::Length(number) => {
                let len = usize::from(u16::from_le_bytes([bytes[0], bytes[1]]));
                if len == 0 {
                    self.expect(Step::Refusal, 1);
                } else if len > NOISE_MESSAGE_BYTES_MAX {
                    return Err(HandshakeError::MessageLength { found: len });
                } else {
                    self.expect(Step::Message(number), len);
                }
                Ok(())
            }
            Step::Message(number) => self.take_message(number, bytes, local),
            Step::Refusal => Err(match Refusal::parse(bytes[0]) {
                Some(Refusal::ClusterKey) => HandshakeError::OtherClusterKey,
                Some(Refusal::Duplicate) => HandshakeError::Duplicate,
                Some(Refusal::Untrusted) => HandshakeError::NotTrustedByPeer,
                Some(Refusal::Malformed) | None => HandshakeError::RefusedAsMalformed,
            }),
            Step::Decide | Step::Done | Step::Failed => Ok(()),
        }
    }

    fn take_preamble(&mut self, bytes: &[u8], local: &Local) -> Result<(), HandshakeError> {
        let mut theirs = [0; PREAMBLE_BYTES];
        theirs.copy_from_slice(bytes);
        let checked = preamble::check(&theirs, self.pattern);
        let ours = preamble::encode(self.pattern);
        // A peer that speaks our language learns why it is refused; a stranger learns nothing.
        if self.role == Role::Responder
            && !matches!(checked, Err(preamble::PreambleError::Magic { .. }))
        {
            self.outbox.extend(ours);
        }
        checked?;
        let prologue = match self.role {
            Role::Initiator => [ours, theirs].concat(),
            Role::Responder => [theirs, ours].concat(),
        };
        self.noise = Some(Box::new(noise(self.role, self.pattern, &prologue, local)));
        match self.role {
            Role::Initiator => {
                self.write_message(&[])?;
                self.expect(Step::Length(2), 2);
            }
            Role::Responder => self.expect(Step::Length(1), 2),
        }
        Ok(())
    }

    fn take_message(
        &mut self,
        number: u8,
        bytes: &[u8],
        local: &Local,
    ) -> Result<(), HandshakeError> {
        let mut payload = [0; NOISE_MESSAGE_BYTES_MAX];
        let noise = self.noise.as_mut().expect("made after the preamble");
        let len = match noise.read_message(bytes, &mut payload) {
            Ok(len) => len,
            // The first thing that each side opens proves the cluster key; nothing else can fail.
            Err(_) if self.pattern == Pattern::ClusterKey && number < 3 => {
                self.refuse(Refusal::ClusterKey);
                return Err(HandshakeError::OtherClusterKey);
            }
            Err(_) => {
                self.refuse(Refusal::Malformed);
                return Err(HandshakeError::Proof);
            }
        };
        if number == 1 {
            self.write_message(&local.hello(None).encode())?;
            self.expect(Step::Length(3), 2);
            return Ok(());
        }
        let claimed = self.meet(&payload[..len], local);
        if claimed.is_err() && self.role == Role::Initiator {
            self.refuse(Refusal::Malformed);
        }
        let (node, hello) = claimed?;
        if self.role == Role::Responder && hello.session != 0 {
            self.resume = Some(Resume { session: hello.session, epoch: hello.epoch });
        }
        self.peer = Some((node, hello));
        self.expect(Step::Decide, 0);
        Ok(())
    }

    /// Who the other side is, by its hello and by its key.
    fn meet(&self, hello: &[u8], local: &Local) -> Result<(NodeId, Hello), HandshakeError> {
        let noise = self.noise.as_ref().expect("made after the preamble");
        let key = noise.get_remote_static().ok_or(HandshakeError::Proof)?;
        let key: &[u8; 32] = key.try_into().map_err(|_| HandshakeError::Proof)?;
        let proven = NodeId::of_public_key(key);
        let hello = Hello::decode(hello)?;
        let claimed = NodeId::from_bytes(hello.node);
        if claimed != proven {
            return Err(HandshakeError::NodeMismatch { claimed, proven });
        }
        if proven == local.identity.node_id() {
            return Err(HandshakeError::Oneself);
        }
        Ok((proven, hello))
    }

    fn write_message(&mut self, payload: &[u8]) -> Result<(), HandshakeError> {
        let mut message = [0; NOISE_MESSAGE_BYTES_MAX];
        let noise = self.noise.as_mut().expect("made after the preamble");
        let len = noise.write_message(payload, &mut message).map_err(|_| HandshakeError::Proof)?;
        self.outbox.extend((len as u16).to_le_bytes());
        self.outbox.extend(&message[..len]);
        Ok(())
    }

    fn refuse(&mut self, refusal: Refusal) {
        self.outbox.extend([0, 0, refusal as u8]);
    }

    /// Who wants in, once that is known and somebody has to decide.
    pub(crate) fn to_decide(&self) -> Option<(NodeId, &Hello)> {
        let (node, hello) = self.peer.as_ref()?;
        (self.step == Step::Decide).then_some((*node, hello))
    }

    /// The peer's public key, once proven.
    pub(crate) fn peer_key(&self) -> Option<[u8; 32]> {
        self.noise.as_ref()?.get_remote_static()?.try_into().ok()
    }

    /// The peer is welcome. An initiator says whether a session goes on.
    pub(crate) fn welcome(
        &mut self,
        local: &Local,
        resume: Option<Resume>,
    ) -> Result<(), HandshakeError> {
        if self.role == Role::Initiator {
            self.resume = resume;
            self.write_message(&local.hello(resume).encode())?;
        }
        self.expect(Step::Done, 0);
        Ok(())
    }

    /// The peer is not welcome. An initiator says so instead of its last message; a responder,
    /// whose handshake is complete, says it with a `CLOSE`.
    pub(crate) fn turn_away(&mut self, refusal: Refusal) {
        self.refuse(refusal);
        self.expect(Step::Failed, 0);
    }

    /// What was agreed, once everything is said.
    pub(crate) fn finish(&mut self, local: &Local) -> Option<Established> {
        if self.step != Step::Done || !self.transmit().is_empty() {
            return None;
        }
        let (node, hello) = self.peer.take()?;
        let mut noise = self.noise.take()?;
        let mut session = [0; 8];
        session.copy_from_slice(&noise.get_handshake_hash()[..8]);
        let (of_initiator, of_responder) = noise.dangerously_get_raw_split();
        let (sending_key, receiving_key) = match self.role {
            Role::Initiator => (of_initiator, of_responder),
            Role::Responder => (of_responder, of_initiator),
        };
        let session = u64::from_le_bytes(session).max(1); // 0 stands for none
        let resume = self.resume.unwrap_or(Resume { session, epoch: 1 });
        Some(Established {
            role: self.role,
            node,
            session: resume.session,
            epoch: resume.epoch,
            sealed: local.encrypt || hello.encrypt == 1,
            hello,
            sending_key,
            receiving_key,
        })
    }
}

fn noise(role: Role, pattern: Pattern, prologue: &[u8], local: &Local) -> HandshakeState {
    let build = || {
        let params = pattern.noise_name().parse()?;
        let mut builder = Builder::new(params)
            .prologue(prologue)?
            .local_private_key(local.identity.private_key())?;
        if let Some(key) = &local.cluster_key {
            builder = builder.psk(0, key.as_bytes())?;
        }
        match role {
            Role::Initiator => builder.build_initiator(),
            Role::Responder => builder.build_responder(),
        }
    };
    build().expect("the pattern and the lengths of the keys are fixed")
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn local(key: Option<u8>, encrypt: bool, name: &str) -> Local {
        Local {
            identity: Identity::generate(),
            cluster_key: key.map(|byte| ClusterKey::from_bytes([byte; 32])),
            encrypt,
            frame_payload_max: 1 << 20,
            name: name.into(),
            software: "test".into(),
            port: 1,
        }
    }

    /// Runs both until nothing moves, `cut` bytes at a time; gives each side's error.
    fn run(
        a: &mut Handshake,
        la: &Local,
        b: &mut Handshake,
        lb: &Local,
        cut: usize,
    ) -> (Option<HandshakeError>, Option<HandshakeError>) {
        fn step(
            from: &mut Handshake,
            to: &mut Handshake,
            local: &Local,
            cut: usize,
            error: &mut Option<HandshakeError>,
        ) -> bool {
            let len = from.transmit().len().min(cut).min(to.wanted());
            if len == 0 {
                return false;
            }
            let bytes = from.transmit()[..len].to_vec();
            from.handle_written(len);
            if let Err(new) = to.handle_bytes(&bytes, local) {
                *error = Some(new);
            }
            if to.to_decide().is_some() {
                to.welcome(local, None).unwrap();
            }
            true
        }
        let (mut ea, mut eb) = (None, None);
        while step(a, b, lb, cut, &mut eb) | step(b, a, la, cut, &mut ea) {
            assert!(a.outbox.capacity() + a.inbox.capacity() <= HANDSHAKE_BYTES_MAX);
        }
        (ea, eb)
    }

    fn pair(la: &Local, lb: &Local) -> (Handshake, Handshake) {
        (Handshake::new(Role::Initiator, la), Handshake::new(Role::Responder, lb))
    }

    #[test]
    fn both_sides_agree_however_the_bytes_are_cut() {
        for key in [Some(1), None] {
            for cut in [1, 2, 3, 7, 16, 17, 64, 1000] {
                let (la, lb) = (local(key, false, "a"), local(key, true, "b"));
                let (mut a, mut b) = pair(&la, &lb);
                assert_eq!(run(&mut a, &la, &mut b, &lb, cut), (None, None));
                let (ea, eb) = (a.finish(&la).unwrap(), b.finish(&lb).unwrap());
                assert_eq!(ea.session, eb.session);
                assert_eq!(ea.sending_key, eb.receiving_key);
                assert_eq!(ea.receiving_key, eb.sending_key);
                assert_ne!(ea.sending_key, ea.receiving_key);
                assert!(ea.sealed && eb.sealed);
                assert_eq!((ea.node, ea.hello.name), (lb.identity.node_id(), "b".into()));
                assert_eq!((eb.node, eb.hello.name), (la.identity.node_id(), "a".into()));
            }
        }
    }

    #[test]
    fn another_cluster_key_is_named_at_both_sides() {
        let (la, lb) = (local(Some(1), true, "a"), local(Some(2), true, "b"));
        let (mut a, mut b) = pair(&la, &lb);
        let key = Some(HandshakeError::OtherClusterKey);
        assert_eq!(run(&mut a, &la, &mut b, &lb, 100), (key.clone(), key));
    }

    #[test]
    fn another_pattern_is_named_at_both_sides() {
        let (la, lb) = (local(Some(1), true, "a"), local(None, true, "b"));
        let (mut a, mut b) = pair(&la, &lb);
        let (ea, eb) = run(&mut a, &la, &mut b, &lb, 100);
        assert!(matches!(ea, Some(HandshakeError::Preamble(_))), "{ea:?}");
        assert!(matches!(eb, Some(HandshakeError::Preamble(_))), "{eb:?}");
    }

    #[test]
    fn oneself_is_refused() {
        let la = local(Some(1), true, "a");
        let (mut a, mut b) = pair(&la, &la);
        assert_eq!(run(&mut a, &la, &mut b, &la, 100).0, Some(HandshakeError::Oneself));
    }

    #[test]
    fn garbage_gets_no_answer_and_an_oversized_message_no_room() {
        let lb = local(Some(1), true, "b");
        let mut b = Handshake::new(Role::Responder, &lb);
        assert!(b.handle_bytes(b"GET / HTTP/1.1\r\n", &lb).is_err());
        assert!(b.transmit().is_empty());

        let mut b = Handshake::new(Role::Responder, &lb);
        b.handle_bytes(&preamble::encode(Pattern::ClusterKey), &lb).unwrap();
        assert_eq!(
            b.handle_bytes(&[0xff, 0xff], &lb),
            Err(HandshakeError::MessageLength { found: 65_535 })
        );
    }

    #[test]
    fn no_flipped_bit_is_accepted() {
        // A bit of what the initiator sends, one at a time, through all three of its messages.
        for at in 0..300 {
            let (la, lb) = (local(Some(1), true, "a"), local(Some(1), true, "b"));
            let (mut a, mut b) = pair(&la, &lb);
            let mut sent = 0;
            let mut spoilt = false;
            let mut failed = false;
            loop {
                let len = a.transmit().len().min(b.wanted());
                let mut bytes = a.transmit()[..len].to_vec();
                if (sent..sent + len).contains(&at) {
                    bytes[at - sent] ^= 1;
                    spoilt = true;
                }
                sent += len;
                a.handle_written(len);
                failed |= b.handle_bytes(&bytes, &lb).is_err();
                let back = b.transmit().len().min(a.wanted());
                let bytes = b.transmit()[..back].to_vec();
                b.handle_written(back);
                failed |= a.handle_bytes(&bytes, &la).is_err();
                if a.to_decide().is_some() {
                    a.welcome(&la, None).unwrap();
                }
                if len + back == 0 {
                    break;
                }
            }
            assert!(!spoilt || failed || b.to_decide().is_none(), "byte {at} does not matter");
        }
    }
}
