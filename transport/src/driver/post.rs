//! What is posted on a session, on its way to the connection.

use crate::proto::{Connection, Time};
use crate::queue::{OutWork, RecvWork, WorkId};

/// As it lies in the queue that it is left in while somebody else is at the connection.
pub(super) enum Post {
    Out(OutWork),
    Recv(RecvWork),
    Cancel(WorkId),
}

/// What can be posted: from where it was made it goes straight to its lane, if nobody else is at it.
pub(super) trait Posted: Into<Post> {
    fn hand_over(self, connection: &mut Connection, now: Time);
}

impl From<OutWork> for Post {
    fn from(work: OutWork) -> Self {
        Self::Out(work)
    }
}

impl Posted for OutWork {
    fn hand_over(self, connection: &mut Connection, _now: Time) {
        connection.post(self);
    }
}

impl From<RecvWork> for Post {
    fn from(work: RecvWork) -> Self {
        Self::Recv(work)
    }
}

impl Posted for RecvWork {
    fn hand_over(self, connection: &mut Connection, now: Time) {
        connection.post_recv(self, now);
    }
}

impl Posted for Post {
    fn hand_over(self, connection: &mut Connection, now: Time) {
        match self {
            Self::Out(work) => connection.post(work),
            Self::Recv(work) => connection.post_recv(work, now),
            Self::Cancel(id) => {
                connection.cancel(id, now);
            }
        }
    }
}
