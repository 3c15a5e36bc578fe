//! What a blob holds: uploaded bytes as they are, disks by reference, everything else zero.

use std::{collections::BTreeMap, fmt, fmt::Write as _};

use bytes::{Bytes, BytesMut};
use rand::{RngCore as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use sha2::{Digest as _, Sha256};

/// The bytes of a blob. A disk of 127 GiB costs no memory: its bytes follow from its seed.
#[derive(Clone, Default)]
pub struct Content {
    length: u64,
    /// What is not zero, by its offset; no two overlap.
    extents: BTreeMap<u64, Extent>,
}

#[derive(Clone)]
struct Extent {
    length: u64,
    data: Data,
}

#[derive(Clone)]
enum Data {
    Bytes(Bytes),
    Synthetic { seed: [u8; 32], from: u64 },
}

impl Content {
    /// `length` zero bytes.
    pub fn zero(length: u64) -> Self {
        Self { length, extents: BTreeMap::new() }
    }

    /// `length` bytes that follow from `seed`.
    pub fn synthetic(length: u64, seed: &str) -> Self {
        let mut content = Self::zero(length);
        let data = Data::Synthetic { seed: Sha256::digest(seed).into(), from: 0 };
        if length > 0 {
            content.extents.insert(0, Extent { length, data });
        }
        content
    }

    /// In bytes.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Adds `bytes` at the end.
    pub fn append(&mut self, bytes: Bytes) {
        let at = self.length;
        self.length += bytes.len() as u64;
        self.write(at, bytes);
    }

    /// Puts `bytes` at `offset`; what would stand beyond the end is cut off.
    pub fn write(&mut self, offset: u64, mut bytes: Bytes) {
        bytes.truncate(self.length.saturating_sub(offset).min(bytes.len() as u64) as usize);
        if bytes.is_empty() {
            return;
        }
        let length = bytes.len() as u64;
        self.clear(offset, length);
        let data = Data::Bytes(bytes);
        self.extents.insert(offset, Extent { length, data });
    }

    /// Makes `length` bytes from `offset` zero.
    pub fn clear(&mut self, offset: u64, length: u64) {
        let end = offset.saturating_add(length);
        self.cut(offset);
        self.cut(end);
        let within: Vec<u64> = self.extents.range(offset..end).map(|(at, _)| *at).collect();
        for at in within {
            self.extents.remove(&at);
        }
    }

    /// Copies `length` bytes from `from` in `source` to `to`.
    pub fn splice(&mut self, to: u64, source: &Self, from: u64, length: u64) {
        self.clear(to, length);
        let mut piece = source.clone();
        piece.cut(from);
        piece.cut(from.saturating_add(length));
        for (at, extent) in piece.extents.range(from..from.saturating_add(length)) {
            self.extents.insert(to + (at - from), extent.clone());
        }
        self.length = self.length.max(to + length);
    }

    /// Cuts off or adds zeros at the end.
    pub fn resize(&mut self, length: u64) {
        self.cut(length);
        self.extents.split_off(&length);
        self.length = length;
    }

    /// The bytes from `start` until before `end`, which must not lie beyond the length.
    pub fn read(&self, start: u64, end: u64) -> Bytes {
        let end = end.min(self.length);
        let touching = self.touching(start, end);
        // Whole uploads are the usual case: no copy.
        if let [(at, extent)] = touching[..]
            && let Data::Bytes(bytes) = &extent.data
            && at <= start
            && end <= at + extent.length
        {
            return bytes.slice((start - at) as usize..(end - at) as usize);
        }
        let mut all = BytesMut::zeroed(end.saturating_sub(start) as usize);
        for (at, extent) in touching {
            let (first, last) = (at.max(start), (at + extent.length).min(end));
            let target = &mut all[(first - start) as usize..(last - start) as usize];
            match &extent.data {
                Data::Bytes(bytes) => {
                    target.copy_from_slice(&bytes[(first - at) as usize..(last - at) as usize])
                }
                Data::Synthetic { seed, from } => fill(*seed, from + (first - at), target),
            }
        }
        all.freeze()
    }

    /// The ranges (start, end) between `start` and `end` that were written.
    pub fn ranges(&self, start: u64, end: u64) -> Vec<(u64, u64)> {
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        for (at, extent) in self.touching(start, end) {
            let (first, last) = (at.max(start), (at + extent.length).min(end));
            match ranges.last_mut() {
                Some(range) if range.1 == first => range.1 = last,
                _ => ranges.push((first, last)),
            }
        }
        ranges
    }

    /// A name of exactly these bytes: two blobs with one identity hold the same.
    pub fn identity(&self) -> String {
        let mut hash = Sha256::new();
        let mut extents = self.extents.iter().peekable();
        let mut end = 0;
        while let Some((&at, extent)) = extents.next() {
            hash.update(format!("zero {};", at - end));
            end = at + extent.length;
            match &extent.data {
                Data::Bytes(bytes) => {
                    let mut run = Sha256::new();
                    run.update(bytes);
                    // How an upload was cut into blocks or pages makes no difference.
                    while let Some((_, next)) = extents.next_if(|(at, _)| **at == end)
                        && let Data::Bytes(bytes) = &next.data
                    {
                        run.update(bytes);
                        end += next.length;
                    }
                    hash.update(format!("bytes {};", end - at));
                    hash.update(run.finalize());
                }
                Data::Synthetic { seed, from } => {
                    hash.update(format!("synthetic {from} {};", extent.length));
                    hash.update(seed);
                }
            }
        }
        hash.update(format!("zero {}", self.length - end));
        hash.finalize().iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }

    /// The extents that reach into `start..end`, in order.
    fn touching(&self, start: u64, end: u64) -> Vec<(u64, &Extent)> {
        if start >= end {
            return Vec::new();
        }
        let before = self.extents.range(..start).next_back();
        let before = before.filter(|(at, extent)| *at + extent.length > start);
        let within = self.extents.range(start..end);
        before.into_iter().chain(within).map(|(at, extent)| (*at, extent)).collect()
    }

    /// Splits the extent that reaches over `at`, so that one begins there.
    fn cut(&mut self, at: u64) {
        let Some((&start, extent)) = self.extents.range_mut(..at).next_back() else {
            return;
        };
        if start + extent.length <= at {
            return;
        }
        let left = at - start;
        let right = Extent {
            length: extent.length - left,
            data: match &mut extent.data {
                Data::Bytes(bytes) => Data::Bytes(bytes.split_off(left as usize)),
                Data::Synthetic { seed, from } => Data::Synthetic { seed: *seed, from: *from + left },
            },
        };
        extent.length = left;
        self.extents.insert(at, right);
    }
}

/// Fills `target` with the synthetic bytes that begin at `offset`.
fn fill(seed: [u8; 32], offset: u64, target: &mut [u8]) {
    let mut generator = ChaCha8Rng::from_seed(seed);
    let skipped = (offset % 4) as usize;
    generator.set_word_pos(u128::from(offset / 4));
    let mut word = [0; 4];
    generator.fill_bytes(&mut word);
    let head = (4 - skipped).min(target.len());
    target[..head].copy_from_slice(&word[skipped..skipped + head]);
    generator.fill_bytes(&mut target[head..]);
}

impl From<Bytes> for Content {
    fn from(bytes: Bytes) -> Self {
        let mut content = Self::default();
        content.append(bytes);
        content
    }
}

impl fmt::Debug for Content {
    /// The size only: what people upload may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Content({} bytes in {} extents)", self.length, self.extents.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_reads_the_same_in_any_pieces_and_costs_no_memory() {
        let disk = Content::synthetic(127 << 30, "disk");
        let whole = disk.read(1 << 36, (1 << 36) + 1000);
        for cut in [0, 1, 3, 4, 511, 1000] {
            let mut pieces = BytesMut::new();
            pieces.extend_from_slice(&disk.read(1 << 36, (1 << 36) + cut));
            pieces.extend_from_slice(&disk.read((1 << 36) + cut, (1 << 36) + 1000));
            assert_eq!(pieces, whole, "cut at {cut}");
        }
        assert_ne!(whole, Content::synthetic(127 << 30, "other").read(1 << 36, (1 << 36) + 1000));
    }

    #[test]
    fn pages_are_written_over_cleared_and_listed() {
        let mut content = Content::zero(4096);
        content.write(512, Bytes::from(vec![1; 1024]));
        content.write(1024, Bytes::from(vec![2; 1024]));
        content.clear(512, 256);
        assert_eq!(content.ranges(0, 4096), [(768, 2048)]);
        let all = content.read(0, 4096);
        assert_eq!((all[767], all[768], all[1024], all[2047], all[2048]), (0, 1, 2, 2, 0));
        content.resize(1024);
        assert_eq!(content.ranges(0, 1024), [(768, 1024)]);
        content.resize(4096);
        assert_eq!(content.read(1000, 1100)[24..], [0; 76]);
    }

    #[test]
    fn the_identity_follows_the_bytes_and_not_how_they_came() {
        let mut blocks = Content::from(Bytes::from_static(b"abc"));
        blocks.append(Bytes::from_static(b"def"));
        assert_eq!(blocks.identity(), Content::from(Bytes::from_static(b"abcdef")).identity());
        assert_ne!(blocks.identity(), Content::from(Bytes::from_static(b"abcdeg")).identity());
        assert_ne!(Content::zero(512).identity(), Content::zero(1024).identity());
        let disk = Content::synthetic(1 << 40, "disk");
        let mut copy = Content::zero(1 << 40);
        copy.splice(0, &disk, 0, 1 << 40);
        assert_eq!(copy.identity(), disk.identity());
    }
}
