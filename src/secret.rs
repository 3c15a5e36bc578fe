//! Values that must not be seen.

use std::fmt;

use serde::{Deserialize, Deserializer};
use zeroize::{Zeroize, Zeroizing};

/// What a secret looks like wherever it is printed.
const MASK: &str = "***";

/// A value that never prints itself: neither `Debug` nor `Display` shows it, it cannot be serialised, compared or borrowed by
/// accident, and its memory is overwritten when it goes.
///
/// ```
/// use image_factory::secret::Secret;
///
/// let secret = Secret::new("hunter2".to_owned());
/// assert_eq!(format!("{secret} {secret:?}"), "*** ***");
/// assert_eq!(secret.expose().len(), 7);
/// assert_eq!(serde_json::to_string(secret.expose()).unwrap(), "\"hunter2\"");
/// ```
///
/// It is written nowhere:
///
/// ```compile_fail,E0277
/// # use image_factory::secret::Secret;
/// # let secret = Secret::new("hunter2".to_owned());
/// serde_json::to_string(&secret);
/// ```
///
/// Nor is it taken for its value, which could then be written:
///
/// ```compile_fail,E0308
/// # use image_factory::secret::Secret;
/// # let secret = Secret::new("hunter2".to_owned());
/// let text: &str = &secret;
/// ```
///
/// Comparing takes a time that tells about the value, so it has to be done on purpose:
///
/// ```compile_fail,E0369
/// # use image_factory::secret::Secret;
/// # let secret = Secret::new("hunter2".to_owned());
/// secret == Secret::new("hunter1".to_owned());
/// ```
#[derive(Clone)]
pub struct Secret<T: Zeroize>(Zeroizing<T>);

impl<T: Zeroize> Secret<T> {
    /// Hides `value`.
    pub fn new(value: T) -> Self {
        Self(Zeroizing::new(value))
    }

    /// The hidden value, for the one place that has to send it.
    pub fn expose(&self) -> &T {
        &self.0
    }
}

impl<T: Zeroize> From<T> for Secret<T> {
    fn from(value: T) -> Self {
        Self::new(value)
    }
}

/// Secrets are read from answers; there is no way back.
impl<'de, T: Zeroize + Deserialize<'de>> Deserialize<'de> for Secret<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize(deserializer).map(Self::new)
    }
}

impl<T: Zeroize> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl<T: Zeroize> fmt::Display for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_prints_as_a_mask_even_inside_other_things() {
        let secret = Secret::new("hunter2".to_owned());
        assert_eq!(format!("{secret} {secret:?} {:?}", Some(&secret)), "*** *** Some(***)");
        assert_eq!(secret.expose(), "hunter2");
    }

    #[test]
    fn padding_and_alternate_forms_print_the_mask_alone() {
        let secret = Secret::new("hunter2".to_owned());
        assert_eq!(format!("{secret:>10} {secret:#?} {secret:?}"), "*** *** ***");
    }

    #[test]
    fn a_secret_is_read_from_an_answer() {
        let secret: Secret<String> = serde_json::from_str("\"hunter2\"").unwrap();
        assert_eq!(secret.expose(), "hunter2");
        let error = serde_json::from_str::<Secret<String>>("[1]").unwrap_err().to_string();
        assert!(!error.contains("hunter2"), "{error}");
    }

    /// What is forgotten is overwritten first: seen on a value that counts how often it was.
    #[test]
    fn every_copy_of_a_secret_is_overwritten_when_it_goes() {
        use std::sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        };

        #[derive(Clone)]
        struct Watched(Arc<AtomicUsize>);
        impl Zeroize for Watched {
            fn zeroize(&mut self) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        let overwritten = Arc::new(AtomicUsize::new(0));
        let secret = Secret::new(Watched(overwritten.clone()));
        drop(secret.clone());
        assert_eq!(overwritten.load(Ordering::Relaxed), 1);
        drop(secret);
        assert_eq!(overwritten.load(Ordering::Relaxed), 2);
    }
}
