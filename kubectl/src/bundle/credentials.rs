//! Who the registry is asked as: from Docker's configuration, its helpers included, or from the file of a pull secret.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use docker_credential::{CredentialRetrievalError, DockerCredential};
use oci_client::secrets::RegistryAuth;

/// Reads the credentials for a registry; anonymous where there are none by default.
///
/// # Errors
/// The file that was named cannot be read or has none for the registry; or a helper fails.
pub(super) fn read(path: Option<&Path>, host: &str) -> Result<RegistryAuth> {
    let Some(file) = path.map(Path::to_owned).or_else(of_docker) else {
        return Ok(RegistryAuth::Anonymous);
    };
    let found = File::open(&file)
        .map_err(anyhow::Error::from)
        .map(|file| docker_credential::get_credential_from_reader(file, host))
        .with_context(|| file.display().to_string())?;
    match found {
        Err(CredentialRetrievalError::NoCredentialConfigured) if path.is_none() => {
            Ok(RegistryAuth::Anonymous)
        }
        found => login(found, host).with_context(|| file.display().to_string()),
    }
}

/// Docker's own configuration, if there is one.
fn of_docker() -> Option<PathBuf> {
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".docker"));
    let folder = std::env::var_os("DOCKER_CONFIG")
        .map(PathBuf::from)
        .or_else(home)?;
    Some(folder.join("config.json")).filter(|file| file.is_file())
}

fn login(found: Result<DockerCredential, CredentialRetrievalError>, host: &str) -> Result<RegistryAuth> {
    use CredentialRetrievalError as Error;
    // A helper may print what it should not: none of its words go into an error.
    let problem = match found {
        Ok(DockerCredential::UsernamePassword(user, password)) => {
            return Ok(RegistryAuth::Basic(user, password));
        }
        Ok(DockerCredential::IdentityToken(token)) => return Ok(RegistryAuth::Bearer(token)),
        Err(Error::NoCredentialConfigured) => "has no credentials",
        Err(Error::ConfigReadError | Error::ConfigNotFound) => {
            "is not JSON with `auths`, and so has no credentials"
        }
        Err(Error::CredentialDecodingError) => "has an `auth` that is not Base64 of USER:PASSWORD",
        Err(Error::CredentialMismatchError) => "has an `auth` that differs from `username` and `password`",
        Err(
            Error::HelperCommunicationError | Error::MalformedHelperResponse | Error::HelperFailure { .. },
        ) => "names a helper that gives no credentials",
    };
    bail!("{problem} for {host}; `docker login {host}` or `kubectl create secret docker-registry` makes them")
}
