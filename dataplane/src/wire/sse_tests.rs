//! Events in and out, however the stream is cut.

use bytes::Bytes;

use super::{answer::Pieces, sse};

pub(super) const STREAM: &str = "\u{feff}: hello\r\nid: 7\rdata: {\"a\":\ndata:1}\r\n\r\nretry: 50\nevent: message\ndata\n\n:c\n\ndata:  x\n\ndata: lost";

pub(super) fn events(bytes: &[u8], sizes: &[usize]) -> Vec<sse::Event> {
    let (mut parser, mut out, mut rest) = (sse::Parser::new(1_000), Vec::new(), bytes);
    for size in sizes.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (chunk, after) = rest.split_at((*size).clamp(1, rest.len()));
        parser.push(Bytes::copy_from_slice(chunk), &mut out).unwrap();
        rest = after;
    }
    out
}

#[test]
fn events_are_the_same_however_the_stream_is_cut() {
    let whole = events(STREAM.as_bytes(), &[10_000]);
    assert_eq!(whole.len(), 3);
    assert_eq!((whole[0].id.as_deref(), whole[0].data.as_ref()), (Some(&b"7"[..]), &b"{\"a\":\n1}"[..]));
    assert_eq!((whole[1].retry, whole[1].event.as_deref(), whole[1].data.len()), (Some(50), Some(&b"message"[..]), 0));
    assert_eq!(whole[2].data.as_ref(), b" x");
    for size in 1..STREAM.len() {
        for second in 1..4 {
            assert_eq!(events(STREAM.as_bytes(), &[size, second]), whole);
        }
    }
}

#[test]
fn an_event_over_its_limit_is_a_fault() {
    for line in ["data: aaaaaaaaaa", "data: a\ndata: b\ndata: c\n", ": aaaaaaaaaaaaaaa"] {
        let mut parser = sse::Parser::new(15);
        assert_eq!(
            parser.push(Bytes::from(line), &mut Vec::new()),
            Err(sse::SseFault::TooLarge { limit: 15 }),
            "{line}"
        );
    }
    let mut parser = sse::Parser::new(15);
    assert_eq!(parser.push(Bytes::from("data: a\n\n".repeat(100)), &mut Vec::new()), Ok(()));
}

#[test]
fn a_message_with_line_ends_is_one_event() {
    let message = b"{\"a\":\r\n\r\n1,\n\"b\":2}\n\ndata: evil";
    let whole = sse::frame(message, None);
    assert_eq!(whole.as_ref(), b"event: message\ndata: {\"a\":1,\"b\":2}data: evil\n\n");
    assert_eq!(sse::frame(b"1", Some("a\nb")).as_ref(), b"id: ab\nevent: message\ndata: 1\n\n");
    let mut parts = Pieces::default();
    sse::Framer.begin(&mut parts);
    for chunk in message.chunks(3) {
        sse::Framer.piece(Bytes::from_static(chunk), &mut parts);
    }
    sse::Framer.end(&mut parts);
    assert_eq!(parts.drain().collect::<Vec<_>>().concat(), whole);
    assert!(events(&sse::comment(), &[1]).is_empty());
}
