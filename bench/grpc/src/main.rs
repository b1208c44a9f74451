//! `tbbench-grpc serve ADDR` answers a unary call with its own bytes; `ask ADDR SIZE COUNT` times
//! such calls and prints JSON. One thread on each side, no TLS, no compression.

use std::{
    convert::Infallible,
    future::{Future, Ready, ready},
    pin::Pin,
    task::{Context, Poll},
    time::Instant,
};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use tonic::{
    Request, Response, Status,
    body::Body,
    client::Grpc,
    codegen::{Service, http::uri::PathAndQuery},
    server::{NamedService, UnaryService},
    transport::{Channel, Server},
};
use tonic_prost::ProstCodec;

const PATH: &str = "/tbbench.Echo/Echo";

/// A message that is bytes.
#[derive(Clone, PartialEq, prost::Message)]
struct Blob {
    #[prost(bytes = "bytes", tag = "1")]
    data: Bytes,
}

type Codec = ProstCodec<Blob, Blob>;

/// Answers with what it was asked.
struct Answer;

impl UnaryService<Blob> for Answer {
    type Response = Blob;
    type Future = Ready<Result<Response<Blob>, Status>>;

    fn call(&mut self, request: Request<Blob>) -> Self::Future {
        ready(Ok(Response::new(request.into_inner())))
    }
}

/// What tonic's code generator would write for `service Echo { rpc Echo(Blob) returns (Blob); }`.
#[derive(Clone)]
struct Echo;

impl NamedService for Echo {
    const NAME: &'static str = "tbbench.Echo";
}

impl Service<http::Request<Body>> for Echo {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(async move {
            let mut grpc = tonic::server::Grpc::new(Codec::default());
            Ok(grpc.unary(Answer, request).await)
        })
    }
}

fn main() -> anyhow::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match words[..] {
        ["serve", addr] => {
            let server = Server::builder().tcp_nodelay(true).add_service(Echo);
            runtime.block_on(server.serve(addr.parse()?))?;
            Ok(())
        }
        ["ask", addr, size, count] => runtime.block_on(ask(addr, size.parse()?, count.parse()?)),
        _ => bail!("tbbench-grpc serve ADDR | ask ADDR SIZE COUNT"),
    }
}

async fn ask(addr: &str, size: usize, count: usize) -> anyhow::Result<()> {
    let channel = Channel::from_shared(format!("http://{addr}"))?.tcp_nodelay(true);
    let mut grpc = Grpc::new(channel.connect().await.context("cannot connect")?);
    let data = Bytes::from(vec![1; size]);
    let warmup = (count / 10).max(100);
    let mut times = Vec::with_capacity(count);
    for round in 0..warmup + count {
        let began = Instant::now();
        grpc.ready().await?;
        let request = Request::new(Blob { data: data.clone() });
        let path = PathAndQuery::from_static(PATH);
        let answer = grpc.unary(request, path, Codec::default()).await?;
        let took = began.elapsed();
        if answer.into_inner().data.len() != size {
            bail!("the answer is another");
        }
        if round >= warmup {
            times.push(took);
        }
    }
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100].as_nanos() as f64 / 1e3;
    println!("{{\"p50_us\": {}, \"p99_us\": {}}}", at(50), at(99));
    Ok(())
}
