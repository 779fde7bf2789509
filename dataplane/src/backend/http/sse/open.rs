//! Makes a session: the stream, the handshake over it, and from then on somebody who hears.

use std::sync::Arc;

use super::{
    super::{
        ask::{self, WITHIN},
        core::Core,
        fault::Fault,
        session::Session,
    },
    Channel, exchanged, hear, posting,
    stream::Stream,
};
use crate::{backend::handshake, wire::outgoing};

const INITIALIZE: &str = "initialize";

pub(in super::super) async fn open(core: &Arc<Core>, generation: u64) -> Result<Arc<Session>, Fault> {
    let within = || format!("within {} s", WITHIN.as_secs());
    let opened = tokio::time::timeout(WITHIN, Box::pin(Stream::open(core))).await;
    let (mut stream, to) = opened.unwrap_or_else(|_elapsed| {
        Err(Fault::said(format!("it named no endpoint on an event stream {}, as a server of HTTP+SSE does", within())))
    })?;
    let (number, params) = (core.number(), handshake::initialize_params(core.declares));
    let body = outgoing::request(INITIALIZE, Some(params.as_bytes()), number);
    let posting = posting(core, &to, core.base.clone(), body);
    let asked = exchanged(core, posting, stream.answer_to(core, number));
    let reply = tokio::time::timeout(WITHIN, Box::pin(asked)).await;
    let reply =
        reply.unwrap_or_else(|_elapsed| Err(Fault::said(format!("it did not answer {INITIALIZE} {}", within()))));
    let reply = reply.map_err(|fault| match fault {
        Fault::Lost => Fault::says("it does not know the endpoint that it has just named (HTTP status 404)"),
        other => ask::about(INITIALIZE, other),
    })?;
    let result = ask::result(INITIALIZE, &reply)?;
    let agreed = handshake::agree(&result).map_err(|fault| Fault::said(fault.to_string()))?;
    let session = Arc::new(Session::of_stream(core, generation, to, agreed, Channel::new()));
    core.tell(&session, "notifications/initialized", None).await?;
    // Last, and without a wait after it: dropped before, nothing of it is left.
    core.spawn(hear::hear(Arc::clone(core), hear::Heard::of(&session), stream));
    Ok(session)
}
