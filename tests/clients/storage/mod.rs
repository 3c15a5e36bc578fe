//! One suite over our blob code, told once in simulated storage and once in Azurite: what comes of each call is written down, and
//! the two transcripts are compared.

mod azurite;
mod comparison;
mod copies;
mod documents;
mod listing;
mod place;
mod signatures;
mod transcript;

pub use azurite::Azurite;
pub use comparison::compare;
pub use place::{Place, simulated};
use transcript::Transcript;

/// Tells the whole suite in `place`.
///
/// # Errors
/// If something goes wrong that is no answer to a call: those stand in the transcript.
pub async fn transcript(place: &Place) -> anyhow::Result<Transcript> {
    let mut told = Transcript::default();
    documents::tell(place, &mut told).await?;
    listing::tell(place, &mut told).await?;
    signatures::tell(place, &mut told).await?;
    copies::tell(place, &mut told).await?;
    Ok(told)
}
