//! `uniqueString()` and `guid()`: the same text as Azure's for the same arguments.

use uuid::Uuid;

/// The namespace of `guid()`: "the GUID namespace is 11fb06fb-712d-4ddd-98c7-e71bbd588830"
/// (<https://learn.microsoft.com/azure/azure-resource-manager/templates/template-functions-string#guid>).
const GUID_NAMESPACE: Uuid = Uuid::from_u128(0x11fb06fb_712d_4ddd_98c7_e71bbd588830);
/// RFC 4648 base 32 in lower case.
const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
/// 64 bits in groups of five.
const LENGTH: usize = 13;

/// 13 characters that stand for the arguments, joined with `-`.
pub(crate) fn unique_string(arguments: &[String]) -> String {
    let mut hash = murmur_hash_64(arguments.join("-").as_bytes());
    (0..LENGTH)
        .map(|_| {
            let letter = ALPHABET[(hash >> 59) as usize];
            hash <<= 5;
            char::from(letter)
        })
        .collect()
}

/// The version 5 UUID of the arguments, joined with `-`.
pub(crate) fn guid(arguments: &[String]) -> String {
    Uuid::new_v5(&GUID_NAMESPACE, arguments.join("-").as_bytes()).to_string()
}

const C1: u32 = 0x239b_961b;
const C2: u32 = 0xab0e_9789;

/// The 64-bit Murmur hash with two 32-bit lanes, seed 0.
fn murmur_hash_64(data: &[u8]) -> u64 {
    let (mut h1, mut h2) = (0u32, 0u32);
    let mix1 = |k: u32| k.wrapping_mul(C1).rotate_left(15).wrapping_mul(C2);
    let mix2 = |k: u32| k.wrapping_mul(C2).rotate_left(17).wrapping_mul(C1);
    let blocks = data.chunks_exact(8);
    let rest = blocks.remainder();
    for block in blocks {
        h1 = (h1 ^ mix1(word(&block[..4]))).rotate_left(19).wrapping_add(h2);
        h1 = h1.wrapping_mul(5).wrapping_add(0x561c_cd1b);
        h2 = (h2 ^ mix2(word(&block[4..]))).rotate_left(13).wrapping_add(h1);
        h2 = h2.wrapping_mul(5).wrapping_add(0x0bca_a747);
    }
    if !rest.is_empty() {
        h1 ^= mix1(word(&rest[..rest.len().min(4)]));
        if rest.len() > 4 {
            h2 ^= mix2(word(&rest[4..]));
        }
    }
    // Azure's lengths fit 32 bits: an expression has at most 24,576 characters.
    h1 ^= data.len() as u32;
    h2 ^= data.len() as u32;
    h1 = h1.wrapping_add(h2);
    h2 = h2.wrapping_add(h1);
    h1 = finish(h1);
    h2 = finish(h2);
    h1 = h1.wrapping_add(h2);
    h2 = h2.wrapping_add(h1);
    u64::from(h2) << 32 | u64::from(h1)
}

/// Up to four bytes, the first lowest.
fn word(bytes: &[u8]) -> u32 {
    bytes.iter().rev().fold(0, |word, byte| word << 8 | u32::from(*byte))
}

fn finish(mut h: u32) -> u32 {
    h ^= h >> 16;
    h = h.wrapping_mul(0x85eb_ca6b);
    h ^= h >> 13;
    h = h.wrapping_mul(0xc2b2_ae35);
    h ^ h >> 16
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(arguments: &[&str]) -> Vec<String> {
        arguments.iter().map(|a| (*a).to_owned()).collect()
    }

    #[test]
    fn unique_strings_are_azures_own() {
        assert_eq!(unique_string(&of(&["test"])), "rbgf3xv4ufgzg");
        assert_eq!(unique_string(&of(&["hello", "world"])), "a7wkljktk6wne");
        assert_eq!(unique_string(&of(&["abc"])), "cgtzqvhu4i23s");
        assert_eq!(unique_string(&of(&["foo", "bar", "baz"])), "xzi4ioaxtmth4");
        let group = "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/my-rg";
        assert_eq!(unique_string(&of(&[group])), "bmg7c6xu4tw46");
    }

    #[test]
    fn guids_are_version_5_over_azures_namespace() {
        let guid = guid(&of(&["a", "b"]));
        assert_eq!(guid, Uuid::new_v5(&GUID_NAMESPACE, b"a-b").to_string());
        assert_eq!(guid.as_bytes()[14], b'5');
    }
}
