//! Every bound of this crate, in one place.
//!
//! A queue, frame, region or batch that has no line here has no bound, and that is a defect.

/// Bytes of a frame's header.
pub const HEADER_BYTES: usize = 64;
/// Bytes of the authentication tag that follows a sealed payload.
pub const TAG_BYTES: usize = 16;
/// Bytes of the preamble.
pub const PREAMBLE_BYTES: usize = 16;

/// Lanes of a connection.
pub const LANES: usize = 4;

/// Largest message, in bytes. Relative pointers of an archive reach 2 GiB; half of it is enough.
pub const MESSAGE_BYTES_MAX: usize = 1 << 30;
/// Largest number of slices gathered into one message.
pub const PAYLOAD_PARTS_MAX: usize = 4;

/// Largest payload of one frame that a node may announce.
pub const FRAME_PAYLOAD_BYTES_MAX: usize = 1 << 20;
/// Smallest payload of one frame that a node may announce: less would be all header.
pub const FRAME_PAYLOAD_BYTES_MIN: usize = 4096;
/// A message is cut into frames of at most this many bytes, so a frame of a better lane waits for
/// the one under way and for what the kernel has ([`UNSENT_FRAMES`]), and no more.
pub const CHUNK_BYTES_DEFAULT: usize = 128 << 10;

/// A payload shorter than this is copied once, next to its header, so that a burst of small frames
/// shares one system call. A payload of this length or more is never copied when it goes out.
pub const INLINE_BYTES_BELOW: usize = 4096;

/// Buffered bytes that are sent in one go when payloads stay where they are: headers and inlined
/// payloads.
pub const STAGING_PLAIN_BYTES: usize = 64 << 10;
/// Frames of one lane, and of those before it, that may be queued for one write.
pub const BATCH_FRAMES: usize = 8;
/// Sealed frames of the largest size that may be staged for one write. One at a time, each with a
/// system call and a short last packet of its own, cost a tenth of the throughput.
pub const BATCH_SEALED_FRAMES: usize = 4;
/// Frames' bytes that may wait in the kernel before it is given more.
pub const UNSENT_FRAMES: usize = 2;
/// Bytes that may lie in the receiver's kernel (Linux). A frame of a better lane waits behind them
/// wherever a receiver is slower than what is sent to it; a cable of 40 Gbit/s has half as many under
/// way where a round trip takes 0.2 ms.
pub const RECEIVE_WINDOW_BYTES: u32 = 2 << 20;
/// Small frames of a lane that lie together: what may pass them passes whole runs.
pub const RUN_BYTES_MAX: usize = 16 << 10;
/// Buffered bytes that only the urgent lane's frames and the connection's own may take up.
pub const STAGING_RESERVED_BYTES: usize = 16 << 10;
/// Slices handed to one vectored write.
pub const WRITE_SLICES_MAX: usize = 64;
/// Bytes read ahead while a burst of small frames arrives.
pub const READ_AHEAD_BYTES: usize = 16 << 10;
/// Longest payload that is read together with the header before it, straight to where a message of
/// the same length as the last one would go.
pub const EXPECTED_BYTES_MAX: usize = 64 << 10;
/// So many frames of small messages in a row, without the socket running dry, are a burst.
pub const BURST_FRAMES: u32 = 3;
/// Frames of 4 KiB and more of one lane that must come in a row, after something else came than was
/// expected, before one is expected again: what lies in the wrong place is copied.
pub const ALIKE_AFTER_SURPRISE: u32 = 16;
/// Bytes read from one connection before its posts and the other connections get their turn.
pub const READ_TURN_BYTES: usize = 512 << 10;
/// Bytes written to one connection before the others get their turn.
pub const WRITE_TURN_BYTES: usize = (1 << 20) + WRITE_SMALL_BYTES;
/// Bytes that a posting thread may write itself before it leaves the rest to the driver.
pub const POSTER_WRITE_BYTES: usize = (256 << 10) + WRITE_SMALL_BYTES;
/// Bytes written in one go while an urgent message of ours is under way: then the socket is looked at
/// for what came, such as its answer.
pub const URGENT_WRITE_BYTES: usize = CHUNK_BYTES_DEFAULT + WRITE_SMALL_BYTES;
/// On top of that, so that headers and an activation's tail do not cost a write of their own.
const WRITE_SMALL_BYTES: usize = 8 << 10;

/// Bytes of a lane that may arrive before they are acknowledged without waiting for company.
pub const UNACKNOWLEDGED_BYTES_MAX: u64 = 1 << 20;
/// Messages of 4 KiB and more of a lane that may arrive before they are acknowledged without waiting
/// for company: somebody may want their memory back.
pub const UNACKNOWLEDGED_LARGE_MAX: u32 = 2;
/// Messages of a lane, however small, that may arrive before they are acknowledged without waiting
/// for company.
pub const UNACKNOWLEDGED_MESSAGES_MAX: u32 = 32;
/// Payload of `RESUME`: what has arrived (8) and what there is room for (4), lane by lane.
pub const RESUME_BYTES: usize = LANES * 12;
/// Largest epoch. A nonce has room for 24 bits of it.
pub const EPOCH_MAX: u32 = (1 << 24) - 1;
/// Regions that one connection may have granted to its peer at once.
pub const GRANTS_MAX: usize = 1024;
/// Reads of one lane whose reply has not come whole. Further ones wait their turn.
pub const READS_MAX: usize = 16;

/// Words of a `CLOSE`, in bytes.
pub const CLOSE_REASON_BYTES_MAX: usize = 256;
/// Payload of `PING` and `PONG`, in bytes.
pub const PING_BYTES: usize = 8;
/// `PING`s without their `PONG`, after which a side is kept alive by `ACK`s: while the way is closed
/// they wait in the kernel, and the peer gets them all at once.
pub const PINGS_UNANSWERED_MAX: u32 = 8;
/// `PONG`s owed at once. A peer that asks faster than it reads breaks the protocol.
pub const PONGS_OWED_MAX: usize = 16;

/// Largest Noise message, in bytes.
pub const NOISE_MESSAGE_BYTES_MAX: usize = 1024;
/// All that a peer can make us hold before it is authenticated, in bytes, beside one socket.
pub const HANDSHAKE_BYTES_MAX: usize = 4096;
/// Longest name of a node, in bytes.
pub const NODE_NAME_BYTES_MAX: usize = 64;
/// Longest version of a program, in bytes.
pub const SOFTWARE_BYTES_MAX: usize = 32;
/// Most peers that a store of trusted keys may hold.
pub const KNOWN_PEERS_MAX: usize = 1024;

/// Connections of one endpoint, unless its configuration says otherwise.
pub const CONNECTIONS_DEFAULT: usize = 64;
/// Connections of one endpoint, whatever its configuration says.
pub const CONNECTIONS_MAX: usize = 1024;
/// Handshakes under way at once, unless the configuration says otherwise.
pub const HANDSHAKES_DEFAULT: usize = 16;
/// Work requests of one queue pair that are posted and not completed.
pub const WORK_REQUESTS_MAX: usize = 1024;
/// Entries of a completion queue.
pub const COMPLETIONS_MAX: usize = 65_536;
/// Events that wait for their reader.
pub const EVENTS_MAX: usize = 1024;
/// Requests to the driver (connect) that wait for it.
pub const COMMANDS_MAX: usize = 256;

/// Rails of one set.
pub const RAILS_MAX: usize = 8;
/// Messages of a set of rails that were sent and have not arrived, each way.
pub const RAIL_MESSAGES_MAX: usize = 64;
/// Stripes asked for over one rail at once: enough to keep it busy while the next is asked for.
pub const RAIL_READS: usize = 3;
/// A message is read over several rails in stripes of so many bytes, unless its set says otherwise.
pub const STRIPE_BYTES_DEFAULT: usize = 512 << 10;

/// Sequences of one activation.
pub const ACTIVATION_SEQUENCES_MAX: usize = 1024;
/// Tokens (rows) of one activation.
pub const ACTIVATION_TOKENS_MAX: u32 = 65_536;
/// Width of a row, in numbers.
pub const ACTIVATION_HIDDEN_MAX: u32 = 1 << 20;

const _: () = assert!(FRAME_PAYLOAD_BYTES_MIN >= CLOSE_REASON_BYTES_MAX);
const _: () = assert!(CHUNK_BYTES_DEFAULT >= FRAME_PAYLOAD_BYTES_MIN);
const _: () = assert!(CHUNK_BYTES_DEFAULT <= FRAME_PAYLOAD_BYTES_MAX);
const _: () = assert!(FRAME_PAYLOAD_BYTES_MAX <= u32::MAX as usize);
// Whatever a frame holds besides zero-copy payload must fit into an empty staging buffer.
const _: () = assert!(
    STAGING_PLAIN_BYTES >= STAGING_RESERVED_BYTES + HEADER_BYTES + INLINE_BYTES_BELOW + TAG_BYTES
);
const _: () = assert!(WRITE_SLICES_MAX > PAYLOAD_PARTS_MAX + 1);
const _: () = assert!(READ_AHEAD_BYTES >= HEADER_BYTES + TAG_BYTES + INLINE_BYTES_BELOW);
// Two messages in, two out, and both preambles.
const _: () =
    assert!(2 * (NOISE_MESSAGE_BYTES_MAX + 2) + 2 * PREAMBLE_BYTES <= HANDSHAKE_BYTES_MAX);
const _: () = assert!(MESSAGE_BYTES_MAX <= i32::MAX as usize);
const _: () = assert!((PINGS_UNANSWERED_MAX as usize) < PONGS_OWED_MAX);
// A control frame's payload passes through one buffer.
const _: () = assert!(RESUME_BYTES <= CLOSE_REASON_BYTES_MAX);
const _: () = assert!(WORK_REQUESTS_MAX <= u32::MAX as usize / 2);
const _: () = assert!(RAIL_READS <= READS_MAX && RAILS_MAX <= 32);
