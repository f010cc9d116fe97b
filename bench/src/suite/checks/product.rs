//! Matrix products against f64, and for one shape against burn's product too, which burn tunes at its first
//! call for up to a minute.

use anyhow::Result;
use burn::module::Param;
use burn::nn::LinearConfig;
use burn::tensor::{DType, Device};
use liquid_attention::core::project;

use super::Report;
use super::recurrence::relative_error;
use crate::suite::random::Random;
use crate::suite::tensors::{tensor, values};

/// Checks products of several shapes.
pub(in crate::suite) fn check(device: &Device, report: &mut Report) -> Result<()> {
    for (rows, depth, columns) in [
        (1, 4096, 4096),
        (64, 4096, 64),
        (300, 512, 1024),
        (2048, 4096, 4096),
    ] {
        let mut random = Random::new(rows as u64);
        let numbers = random.normals(rows * depth);
        let x = tensor(&numbers, [1, rows, depth], DType::BF16, device);
        let weights = random.normals(depth * columns);
        let mut linear = LinearConfig::new(depth, columns).with_bias(false).init(device);
        let weight = tensor(&weights, [depth, columns], DType::BF16, device);
        linear.weight = Param::from_tensor(weight.clone());
        let ours = values(project(&linear, x.clone()));
        anyhow::ensure!(
            ours.len() == rows * columns,
            "a product of {rows} rows has another size"
        );
        let (mut some, mut exact) = (Vec::new(), Vec::new());
        for row in [0, rows / 2, rows - 1] {
            for column in (0..columns).step_by(37) {
                let terms = (0..depth)
                    .map(|i| f64::from(numbers[row * depth + i]) * f64::from(weights[i * columns + column]));
                exact.push(terms.sum());
                some.push(ours[row * columns + column]);
            }
        }
        let name = format!("product {rows} x {depth} x {columns}");
        report.add(&name, relative_error(&some, &exact), 5e-3);
        if rows == 64 {
            let burns = values(x.reshape([rows, depth]).matmul(weight));
            report.compare(&format!("{name} and burn's"), &ours, &burns, 5e-3);
        }
    }
    Ok(())
}
