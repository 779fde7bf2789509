//! The frame of the segment log, its bytes and its hash chain. It opens no files.
//!
//! `length u32 LE ‖ CRC32C of the payload u32 LE ‖ payload`; the payload is
//! `version 1 ‖ kind ‖ epoch u64 LE ‖ seq u64 LE ‖ prev_hash 32 ‖ event`.

use aws_lc_rs::digest::{Context, SHA256};
use uuid::Uuid;

/// Longest event, bytes.
pub const MAX_EVENT: usize = 64 * 1024;
/// Length and checksum.
pub(super) const PREFIX: usize = 8;
/// What of the payload comes before the event.
pub(super) const HEAD: usize = 50;
const VERSION: u8 = 1;
/// A record, numbered and in the chain. Kind 2 is kept for intents, which have neither.
const RECORD: u8 = 1;

pub type Hash = [u8; 32];

/// The chain's fixed part: the plane's id as 36 ASCII bytes, and the epoch.
#[derive(Clone, Copy, Debug)]
pub struct Chain {
    plane: [u8; 36],
    epoch: u64,
}

impl Chain {
    #[must_use]
    pub fn new(plane: Uuid, epoch: u64) -> Self {
        let mut text = [0; 36];
        plane.hyphenated().encode_lower(&mut text);
        Self { plane: text, epoch }
    }

    /// The same plane's chain of another epoch.
    #[must_use]
    pub fn of_epoch(&self, epoch: u64) -> Self {
        Self { epoch, ..*self }
    }

    /// `hash[0]`: what the first record of the epoch names as the one before it.
    #[must_use]
    pub fn root(&self, last_of_the_epoch_before: Option<Hash>) -> Hash {
        let mut context = Context::new(&SHA256);
        context.update(&self.plane);
        context.update(&self.epoch.to_be_bytes());
        context.update(&last_of_the_epoch_before.unwrap_or_default());
        finished(context)
    }

    /// `hash[n]` from `hash[n-1]`.
    #[must_use]
    pub fn next(&self, before: &Hash, seq: u64, event: &[u8]) -> Hash {
        let mut context = Context::new(&SHA256);
        context.update(before);
        context.update(&self.plane);
        context.update(&self.epoch.to_be_bytes());
        context.update(&seq.to_be_bytes());
        context.update(event);
        finished(context)
    }
}

fn finished(context: Context) -> Hash {
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

/// Writes one record's frame into `out`, which is emptied first.
pub(super) fn write(out: &mut Vec<u8>, epoch: u64, seq: u64, before: &Hash, event: &[u8]) {
    out.clear();
    let length = u32::try_from(HEAD + event.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&[VERSION, RECORD]);
    out.extend_from_slice(&epoch.to_le_bytes());
    out.extend_from_slice(&seq.to_le_bytes());
    out.extend_from_slice(before);
    out.extend_from_slice(event);
    let sum = crc32c::crc32c(out.get(PREFIX..).unwrap_or_default()).to_le_bytes();
    if let Some(place) = out.get_mut(4..PREFIX) {
        place.copy_from_slice(&sum);
    }
}

/// A whole, checked frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    pub(super) epoch: u64,
    pub(super) seq: u64,
    pub(super) before: Hash,
    pub(super) event: &'a [u8],
    /// With prefix.
    pub(super) bytes: usize,
}

/// What stands at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found<'a> {
    Good(Frame<'a>),
    /// Not a frame, and the one after it can't be found either.
    Bad,
    /// Not a good frame, but one follows after so many bytes.
    Skip(usize),
    /// The end, exactly.
    End,
}

/// Reads the frame at the beginning of `bytes`.
pub(super) fn read(bytes: &[u8]) -> Found<'_> {
    if bytes.is_empty() {
        return Found::End;
    }
    if let Some(frame) = good(bytes) {
        return Found::Good(frame);
    }
    let Some(size) = size_of(bytes) else {
        return Found::Bad;
    };
    match bytes.get(size..).and_then(good) {
        Some(_) => Found::Skip(size),
        None => Found::Bad,
    }
}

fn size_of(bytes: &[u8]) -> Option<usize> {
    let length = usize::try_from(u32::from_le_bytes(*bytes.first_chunk()?)).ok()?;
    (HEAD..=HEAD + MAX_EVENT).contains(&length).then_some(PREFIX + length)
}

fn good(bytes: &[u8]) -> Option<Frame<'_>> {
    let size = size_of(bytes)?;
    let sum = u32::from_le_bytes(*bytes.get(4..PREFIX)?.first_chunk()?);
    let payload = bytes.get(PREFIX..size)?;
    if crc32c::crc32c(payload) != sum {
        return None;
    }
    let (head, event) = payload.split_at_checked(HEAD)?;
    let (kind, rest) = head.split_first_chunk::<2>()?;
    let (epoch, rest) = rest.split_first_chunk::<8>()?;
    let (seq, rest) = rest.split_first_chunk::<8>()?;
    (*kind == [VERSION, RECORD]).then_some(())?;
    Some(Frame {
        epoch: u64::from_le_bytes(*epoch),
        seq: u64::from_le_bytes(*seq),
        before: *rest.first_chunk()?,
        event,
        bytes: size,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_reads_back_and_any_cut_or_flip_is_seen() {
        let mut out = Vec::new();
        write(&mut out, 7, 9, &[3; 32], b"{\"v\":1}");
        let Found::Good(frame) = read(&out) else { panic!("not read back") };
        assert_eq!((frame.epoch, frame.seq, frame.before, frame.event), (7, 9, [3; 32], &b"{\"v\":1}"[..]));
        assert_eq!(frame.bytes, out.len());
        for end in 1..out.len() {
            assert_eq!(read(&out[..end]), Found::Bad);
        }
        for bit in 0..out.len() * 8 {
            let mut bytes = out.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(!matches!(read(&bytes), Found::Good(_)), "bit {bit}");
        }
    }

    #[test]
    fn a_bad_frame_with_a_good_one_after_it_can_be_skipped() {
        let (mut first, mut second) = (Vec::new(), Vec::new());
        write(&mut first, 1, 1, &[0; 32], b"one");
        write(&mut second, 1, 2, &[0; 32], b"two");
        let size = first.len();
        first[size - 1] ^= 1;
        first.extend_from_slice(&second);
        assert_eq!(read(&first), Found::Skip(size));
    }

    #[test]
    fn the_chain_is_what_the_contract_says() {
        let plane = Uuid::from_u128(5);
        let chain = Chain::new(plane, 258);
        let mut by_hand = vec![9; 32];
        by_hand.extend_from_slice(plane.to_string().as_bytes());
        by_hand.extend_from_slice(&[0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0, 0, 0, 3]);
        by_hand.extend_from_slice(b"event");
        let expected = aws_lc_rs::digest::digest(&SHA256, &by_hand);
        assert_eq!(chain.next(&[9; 32], 3, b"event"), *expected.as_ref());
        assert_eq!(chain.root(None), chain.root(Some([0; 32])));
    }
}
