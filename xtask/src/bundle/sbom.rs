//! What is in an image, as CycloneDX 1.5.

use anyhow::{Result, ensure};
use cyclonedx_bom::external_models::uri::Purl;
use cyclonedx_bom::models::bom::{Bom, SpecVersion};
use cyclonedx_bom::models::component::{Classification, Component, Components};
use cyclonedx_bom::models::dependency::{Dependencies, Dependency};
use cyclonedx_bom::models::hash::{Hash, HashAlgorithm, HashValue, Hashes};
use cyclonedx_bom::models::license::{LicenseChoice, Licenses};
use cyclonedx_bom::models::metadata::Metadata;
use cyclonedx_bom::validation::Validate;

use super::packages::{Content, Model, Package};
use super::system::SystemPackage;
use crate::images::{Name, StoredImage, Wheel};
use crate::model;

const VERSION: SpecVersion = SpecVersion::V1_5;

/// Returns the document of an image. It has neither a time nor a random number in it.
pub(super) fn write(name: Name, image: &StoredImage, content: &Content) -> Result<Vec<u8>> {
    let version = env!("CARGO_PKG_VERSION");
    let digest = image.digest();
    let reference = format!("image:{}", name.short_reference());
    let mut whole = Component::new(
        Classification::Container,
        name.file(),
        version,
        Some(reference.clone()),
    );
    whole.hashes = sha256(digest.trim_start_matches("sha256:"));
    whole.purl = Some(Purl::new("oci", name.file(), &digest)?);
    whole.licenses = licenses("Apache-2.0");
    let packages = content.packages.iter().map(|(id, package)| of_cargo(id, package));
    let system = content.system.iter().map(of_system);
    let models = content.models.iter().map(|model| Ok(of_model(model)));
    let wheels = content.wheels.iter().map(of_wheel);
    let components = packages
        .chain(system)
        .chain(wheels)
        .chain(models)
        .collect::<Result<Vec<_>>>()?;
    let mut dependencies = vec![Dependency {
        dependency_ref: reference,
        dependencies: components.iter().filter_map(|one| one.bom_ref.clone()).collect(),
    }];
    dependencies.extend(content.packages.iter().map(|(id, package)| Dependency {
        dependency_ref: id.clone(),
        dependencies: package.requires.iter().cloned().collect(),
    }));
    let bom = Bom {
        version: 1,
        serial_number: None,
        metadata: Some(Metadata {
            component: Some(whole),
            ..Metadata::default()
        }),
        components: Some(Components(components)),
        dependencies: Some(Dependencies(dependencies)),
        spec_version: VERSION,
        ..Bom::default()
    };
    let checked = bom.validate_version(VERSION);
    ensure!(checked.passed(), "{}: not CycloneDX: {checked:?}", name.file());
    let mut text = Vec::new();
    bom.output_as_json_v1_5(&mut text)?;
    Ok(text)
}

fn of_cargo(id: &str, package: &Package) -> Result<Component> {
    let Package { name, version, .. } = package;
    let mut component = Component::new(Classification::Library, name, version, Some(id.to_owned()));
    component.purl = Some(Purl::new("cargo", name, version)?);
    component.licenses = package.license.as_deref().and_then(licenses);
    component.hashes = package.checksum.as_deref().and_then(sha256);
    Ok(component)
}

fn of_system(package: &SystemPackage) -> Result<Component> {
    let SystemPackage { name, version, .. } = package;
    let reference = format!("system:{name}");
    match &package.architecture {
        Some(_) => {
            let mut component = Component::new(Classification::Library, name, version, Some(reference));
            component.purl = Some(Purl::new("deb", &format!("debian/{name}"), version)?);
            Ok(component)
        }
        None => {
            let mut component = Component::new(Classification::File, name, "", Some(reference));
            component.hashes = sha256(version);
            Ok(component)
        }
    }
}

fn of_wheel(wheel: &Wheel) -> Result<Component> {
    let model::Package { name, version, .. } = wheel.package;
    let reference = format!("wheel:{name}");
    let mut component = Component::new(Classification::Library, name, version, Some(reference));
    component.purl = Some(Purl::new("pypi", name, version)?);
    Ok(component)
}

fn of_model(model: &Model) -> Component {
    let reference = format!("model:{}", model.name);
    let mut component = Component::new(
        Classification::MachineLearningModel,
        &model.name,
        &model.sha256,
        Some(reference),
    );
    component.hashes = sha256(&model.sha256);
    component.licenses = licenses("Apache-2.0");
    component
}

fn sha256(sum: &str) -> Option<Hashes> {
    Some(Hashes(vec![Hash {
        alg: HashAlgorithm::SHA_256,
        content: HashValue(sum.to_owned()),
    }]))
}

fn licenses(expression: &str) -> Option<Licenses> {
    Some(Licenses(vec![LicenseChoice::expression(expression)]))
}
