//! scratch
fn main() {
    for l in std::io::stdin().lines() {
        let l = l.unwrap();
        println!(
            "{:?} {:?}  {l}",
            liquid_sidecar::need::judge(&l),
            liquid_sidecar::need::speech(&l)
        );
    }
}
