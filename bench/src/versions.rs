//! Versions of libraries that a report names, read from the lock file that this build was made with.

const LOCK: &str = include_str!("../../Cargo.lock");

/// The version of burn.
pub(crate) fn burn() -> &'static str {
    find(LOCK, "burn").unwrap_or("of an unknown version")
}

/// The version of a package in a lock file.
fn find<'a>(lock: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = lock.split_once(&format!("\nname = \"{name}\"\nversion = \""))?;
    rest.split('"').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_file_names_the_version_of_burn() {
        let numbers = burn().split('.').count();
        assert_eq!(numbers, 3, "{}", burn());
        assert!(burn().starts_with(|first: char| first.is_ascii_digit()));
    }

    #[test]
    fn a_package_is_found_by_its_whole_name() {
        let lock = "[[package]]\nname = \"burn-core\"\nversion = \"1.0.0\"\n\n[[package]]\nname = \"burn\"\nversion = \"2.0.0\"\n";
        assert_eq!((find(lock, "burn"), find(lock, "core")), (Some("2.0.0"), None));
    }
}
