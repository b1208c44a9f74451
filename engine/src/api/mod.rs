//! What did the client ask, in OpenAI's words? The only place that knows HTTP.
//!
//! [`bind`] takes the port, [`BoundApi::serve`] answers on it until told to stop.
//!
//! | module | question |
//! |---|---|
//! | `guard` | may this client ask at all? |
//! | `body`, `params`, `ask`, `sampling`, `messages` | what is asked for, and is all of it understood? |
//! | `chat`, `completions`, `look` | one per kind of endpoint |
//! | `answer` | the generation loop: tokens to text, stop strings, usage |
//! | `respond`, `logprobs` | the answer in JSON, whole or as server-sent events |
//! | `error` | what went wrong, in OpenAI's shape |

mod answer;
mod ask;
mod body;
mod chat;
mod completions;
mod error;
mod guard;
mod logprobs;
mod look;
mod messages;
mod params;
mod respond;
mod sampling;
#[cfg(test)]
mod tests;

use std::{
    future::Future,
    io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};

use axum::{
    Router,
    extract::DefaultBodyLimit,
    http::{Method, Uri},
    middleware,
    routing::{get, post},
};
use tokio::sync::{Semaphore, oneshot};

use self::{body::BODY_BYTES_MAX, error::ApiError, guard::ApiKey};
use crate::node::NodeHandle;

/// Prompts that are tokenized at once; others wait their turn.
const COMPUTE_MAX: usize = 4;
/// How long running answers may go on after the API was told to stop.
const DRAIN: Duration = Duration::from_secs(5);

/// Where the API listens, and for whom.
#[derive(Clone)]
pub struct ApiConfig {
    /// Address and port; port 0 takes any free one.
    pub listen: SocketAddr,
    /// What clients have to send; needed unless `listen` is a loopback address.
    pub key: Option<String>,
}

/// Why the API could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum ApiStartError {
    /// Anyone on the network could ask.
    #[error("the API would listen on {listen}, which other machines reach, without an API key")]
    KeyNeeded {
        /// Where.
        listen: SocketAddr,
    },
    /// A key that anyone guesses.
    #[error("the API key is empty")]
    KeyEmpty,
    /// Somebody listens there.
    #[error("the API cannot listen on {listen}: another program does")]
    PortInUse {
        /// Where.
        listen: SocketAddr,
    },
    /// The system refused.
    #[error("the API cannot listen on {listen}: {cause}")]
    Bind {
        /// Where.
        listen: SocketAddr,
        /// Why.
        cause: io::Error,
    },
}

impl ApiStartError {
    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::KeyNeeded { listen } => format!(
                "add --api-key KEY (or EXO_API_KEY), or listen on --api 127.0.0.1:{}",
                listen.port()
            ),
            Self::KeyEmpty => "make one with: openssl rand -hex 16".to_owned(),
            Self::PortInUse { listen } => format!(
                "`exo-node status --api http://{listen}` says whether it is a node; else choose \
                 another with --api {}:PORT",
                listen.ip()
            ),
            Self::Bind { .. } => "--api takes an address of this machine and a port".to_owned(),
        }
    }
}

/// An API that has its port and does not answer yet.
pub struct BoundApi {
    listener: TcpListener,
    address: SocketAddr,
    key: Option<ApiKey>,
}

/// Takes the API's port.
///
/// # Errors
/// [`ApiStartError`]: the port is taken, or the address is open to others and no key is set.
pub fn bind(config: &ApiConfig) -> Result<BoundApi, ApiStartError> {
    let listen = config.listen;
    match &config.key {
        Some(key) if key.is_empty() => return Err(ApiStartError::KeyEmpty),
        None if !listen.ip().to_canonical().is_loopback() => {
            return Err(ApiStartError::KeyNeeded { listen });
        }
        _ => {}
    }
    let opened = TcpListener::bind(listen).and_then(|listener| {
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        Ok((listener, address))
    });
    match opened {
        Ok((listener, address)) => {
            Ok(BoundApi { listener, address, key: config.key.as_deref().map(ApiKey::new) })
        }
        Err(cause) if cause.kind() == io::ErrorKind::AddrInUse => {
            Err(ApiStartError::PortInUse { listen })
        }
        Err(cause) => Err(ApiStartError::Bind { listen, cause }),
    }
}

impl BoundApi {
    /// Where it listens, with the port that was taken.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `stop` completes; running answers then get five seconds to end. Needs a tokio
    /// runtime with I/O and time.
    ///
    /// # Errors
    /// What the listening socket says.
    pub async fn serve(
        self,
        node: NodeHandle,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<()> {
        let listener = tokio::net::TcpListener::from_std(self.listener)?;
        let router = router(App::new(node, self.key));
        let (stopping, stopped) = oneshot::channel();
        let serving = axum::serve(listener, router).with_graceful_shutdown(async move {
            stop.await;
            let _ = stopping.send(());
        });
        let drained = async {
            // An error means that serving ended by itself, and with it this wait.
            let _ = stopped.await;
            tokio::time::sleep(DRAIN).await;
        };
        tokio::select! {
            served = serving.into_future() => served,
            () = drained => Ok(()),
        }
    }
}

/// What every handler sees.
struct App {
    node: NodeHandle,
    key: Option<ApiKey>,
    /// Seconds since 1970.
    started: u64,
    compute: Arc<Semaphore>,
}

impl App {
    fn new(node: NodeHandle, key: Option<ApiKey>) -> Arc<Self> {
        let compute = Arc::new(Semaphore::new(COMPUTE_MAX));
        Arc::new(Self { node, key, started: respond::now(), compute })
    }

    /// Runs `work` on a thread where it may take its time.
    async fn compute<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        // The semaphore is never closed.
        let permit = self.compute.clone().acquire_owned().await.map_err(|_| ApiError::Abandoned)?;
        let work = move || {
            let _held = permit; // by the work, which outlives a client that went away
            work()
        };
        tokio::task::spawn_blocking(work).await.map_err(|_| ApiError::Abandoned)?
    }
}

fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/v1/chat/completions", post(chat::create))
        .route("/v1/completions", post(completions::create))
        .route("/v1/models", get(look::models))
        .route("/v1/models/{*id}", get(look::model)) // names of models may have slashes
        .route("/v1/cluster", get(look::cluster))
        .route("/healthz", get(look::health))
        .fallback(async |method: Method, uri: Uri| ApiError::UnknownRoute {
            method: method.to_string(),
            path: uri.path().to_owned(),
        })
        .method_not_allowed_fallback(async |method: Method, uri: Uri| ApiError::WrongMethod {
            method: method.to_string(),
            path: uri.path().to_owned(),
        })
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn_with_state(app.clone(), guard::admit))
        .with_state(app)
}
