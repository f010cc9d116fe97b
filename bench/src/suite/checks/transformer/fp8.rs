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

/// The code of the number nearest to `x`, of two that are as near the even one.
pub(super) fn code(x: f64) -> u8 {
    let exponent = (x.abs().log2().floor() as i32).clamp(-6, 8);
    let eighths = (x.abs() / 2_f64.powi(exponent - 3)).round_ties_even() as i32;
    // Eight eighths less than a normal number's exponent says are a subnormal's; sixteen carry into the exponent.
    let size = ((exponent + 6) * 8 + eighths).clamp(0, 0x7e) as u8;
    size | if x < 0.0 { 0x80 } else { 0 }
}

/// Numbers as FP8 with the least power of two for all of them: codes, and the scale.
pub(super) fn codes(numbers: &[f32]) -> (Vec<u8>, f32) {
    let largest = numbers.iter().fold(0_f32, |most, x| most.max(x.abs()));
    let scale = f64::from(largest / 448.0).log2().ceil().exp2();
    let codes = numbers.iter().map(|x| code(f64::from(*x) / scale)).collect();
    (codes, scale as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_that_of_its_number() {
        for of in (0..0x7f).chain(0x81..0xff) {
            assert_eq!(code(number(of)), of);
            // The middle of two goes to the even one.
            if of & 0x7f < 0x7e {
                let middle = (number(of) + number(of + 1)) / 2.0;
                assert_eq!(code(middle), of + (of & 1));
            }
        }
        assert_eq!((code(1e9), code(-1e-9)), (0x7e, 0x80));
        assert_eq!(codes(&[448.0, -224.0, 0.0]), (vec![0x7e, 0xf6, 0], 1.0));
        assert_eq!(codes(&[0.5]).1, 2_f32.powi(-9));
    }
}
