//! The operations of [`crate::core`] on NVIDIA GPUs.

use burn_cubecl::CubeBackend;

use crate::core::LiquidBackend;

impl LiquidBackend for CubeBackend {}
