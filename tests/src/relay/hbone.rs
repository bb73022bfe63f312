//! HBONE without its encryption: each connection is a stream of an HTTP/2 connection, by CONNECT.

use super::carrier::Carrier;
use anyhow::{Context as _, Result, anyhow, ensure};
use bytes::Bytes;
use h2::{RecvStream, SendStream, client::SendRequest, server::SendResponse};
use http::{Method, Request, Response, StatusCode};
use std::{future::poll_fn, net::SocketAddrV4};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// What one stream or connection may hold unread, in bytes, as ztunnel has it.
const STREAM_WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;
/// As much as ztunnel reads at once.
const BUFFER: usize = 16 << 10;

/// Both directions of one stream.
pub struct Stream {
    send: SendStream<Bytes>,
    receive: RecvStream,
}

/// The connection itself is to be driven by somebody.
pub async fn client(
    carrier: Carrier,
) -> Result<(SendRequest<Bytes>, h2::client::Connection<Carrier, Bytes>)> {
    let mut settings = h2::client::Builder::new();
    settings.initial_window_size(STREAM_WINDOW).initial_connection_window_size(CONNECTION_WINDOW);
    Ok(settings.handshake(carrier).await?)
}

pub async fn server(carrier: Carrier) -> Result<h2::server::Connection<Carrier, Bytes>> {
    let mut settings = h2::server::Builder::new();
    settings.initial_window_size(STREAM_WINDOW).initial_connection_window_size(CONNECTION_WINDOW);
    Ok(settings.handshake(carrier).await?)
}

/// A stream to that address, by one who can reach it.
pub async fn open(to: SendRequest<Bytes>, address: SocketAddrV4) -> Result<Stream> {
    let mut to = to.ready().await?;
    let request = Request::builder().method(Method::CONNECT).uri(address.to_string()).body(())?;
    let (response, send) = to.send_request(request, false)?;
    let response = response.await?;
    ensure!(response.status() == StatusCode::OK, "{address}: {}", response.status());
    Ok(Stream { send, receive: response.into_body() })
}

/// What a peer asks for: the address, and who answers it.
pub fn asked(
    (request, answer): (Request<RecvStream>, SendResponse<Bytes>),
) -> Result<(SocketAddrV4, Asked)> {
    let to = request.uri().authority().context("no authority")?.as_str().parse()?;
    ensure!(request.method() == Method::CONNECT, "{} {to}", request.method());
    Ok((to, Asked { answer, receive: request.into_body() }))
}

pub struct Asked {
    answer: SendResponse<Bytes>,
    receive: RecvStream,
}

impl Asked {
    pub fn accept(mut self) -> Result<Stream> {
        let send = self.answer.send_response(Response::new(()), false)?;
        Ok(Stream { send, receive: self.receive })
    }

    pub fn refuse(mut self) -> Result<()> {
        let response = Response::builder().status(StatusCode::SERVICE_UNAVAILABLE).body(())?;
        self.answer.send_response(response, true)?;
        Ok(())
    }
}

/// Until both directions have ended.
pub async fn carry(connection: Carrier, Stream { mut send, mut receive }: Stream) -> Result<()> {
    let (mut from, mut to) = tokio::io::split(connection);
    let there = async {
        let mut buffer = vec![0; BUFFER];
        loop {
            let read = from.read(&mut buffer).await?;
            if read == 0 {
                return anyhow::Ok(send.send_data(Bytes::new(), true)?);
            }
            let mut data = Bytes::copy_from_slice(&buffer[..read]);
            while !data.is_empty() {
                send.reserve_capacity(data.len());
                let room = poll_fn(|cx| send.poll_capacity(cx)).await;
                let room = room.ok_or_else(|| anyhow!("the stream was reset"))??;
                send.send_data(data.split_to(room.min(data.len())), false)?;
            }
        }
    };
    let back = async {
        while let Some(data) = receive.data().await {
            let data = data?;
            to.write_all(&data).await?;
            receive.flow_control().release_capacity(data.len())?;
        }
        anyhow::Ok(to.shutdown().await?)
    };
    tokio::try_join!(there, back).map(drop)
}
