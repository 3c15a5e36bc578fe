//! Lock tokens and the locks they name.

use time::OffsetDateTime;
use uuid::Uuid;

/// The name space that lock tokens are derived in; any fixed value does.
const NAME_SPACE: Uuid = Uuid::from_u128(0x6d5c_91a4_77f1_4f5b_9a0e_3b1d_2c8e_40f7);

/// Makes lock tokens: the same ones in the same order in every run.
#[derive(Debug, Default)]
pub(super) struct LockTokens(u64);

impl LockTokens {
    pub(super) fn next(&mut self) -> Uuid {
        self.0 += 1;
        Uuid::new_v5(&NAME_SPACE, &self.0.to_be_bytes())
    }
}

/// A lock that a receiver holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lock {
    pub(super) token: Uuid,
    pub(super) until: OffsetDateTime,
}
