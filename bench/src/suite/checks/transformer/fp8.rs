//! FP8 (E4M3) on the host: sign, four bits of exponent around 7, three of mantissa.

/// The number of a code.
pub(super) fn number(code: u8) -> f64 {
    let exponent = i32::from(code >> 3 & 15);
    let mantissa = f64::from(code & 7) / 8.0;
    let size = match exponent {
        0 => mantissa * 2_f64.powi(-6),
        _ => (1.0 + mantissa) * 2_f64.powi(exponent - 7),
    };
    if code & 0x80 == 0 { size } else { -size }
}

/// The code of the number nearest to `x`.
pub(super) fn code(x: f64) -> u8 {
    let distance = |code: u8| (number(code) - x.abs()).abs();
    let nearest = (0..0x7f_u8).min_by(|a, b| distance(*a).total_cmp(&distance(*b)));
    nearest.unwrap_or(0) | if x < 0.0 { 0x80 } else { 0 }
}
