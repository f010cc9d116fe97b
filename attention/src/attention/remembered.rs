//! What a layer keeps between calls about its own parameters, and how it knows that they are still the same.

use std::any::Any;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::Tensor;

/// A value made from the parameters of a module, valid for as long as those stay the same. A clone of a module begins
/// without one.
pub(crate) struct Remembered<T>(Mutex<Option<(Values, T)>>);

impl<T: Clone> Remembered<T> {
    /// Returns the value made from the module's parameters before, or else makes it now. A value made from
    /// other parameters is dropped.
    pub(crate) fn of<M: Module>(&self, module: &M, make: impl FnOnce() -> T) -> T {
        let mut remembered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((values, made)) = &*remembered
            && values.are_of(module)
        {
            return made.clone();
        }
        *remembered = None;
        let values = Values::of(module);
        let made = make();
        *remembered = Some((values, made.clone()));
        made
    }

    /// Drops the value, and the parameters that are kept with it.
    pub(crate) fn forget(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl<T> Default for Remembered<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Clone for Remembered<T> {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl<T> fmt::Debug for Remembered<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Remembered")
    }
}

/// The values of a module's parameters, told apart by their addresses. burn shares a parameter's value between the
/// parameter's clones and never changes it in place (`burn::module::Param`), so the value at a place is the same for
/// as long as a clone is kept. Tensors themselves cannot tell: each thread that uses one knows it by another id.
struct Values {
    places: Vec<usize>,
    _kept: Vec<Box<dyn Any + Send>>,
}

impl Values {
    fn of(module: &impl Module) -> Self {
        let mut kept = Keep(Vec::new());
        module.visit(&mut kept);
        Self {
            places: places(module),
            _kept: kept.0,
        }
    }

    fn are_of(&self, module: &impl Module) -> bool {
        self.places == places(module)
    }
}

fn places(module: &impl Module) -> Vec<usize> {
    let mut places = Places(Vec::with_capacity(16));
    module.visit(&mut places);
    places.0
}

struct Places(Vec<usize>);

impl ModuleVisitor for Places {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.0.push(std::ptr::from_ref::<Tensor<D>>(param).addr());
    }
}

struct Keep(Vec<Box<dyn Any + Send>>);

impl ModuleVisitor for Keep {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.0.push(Box::new(param.clone()));
    }
}

#[cfg(test)]
#[allow(clippy::expect_used, reason = "tests")]
mod tests {
    use burn::module::{Lora, ModuleMapper};
    use burn::nn::Linear;
    use burn::tensor::Device;

    use super::*;
    use crate::{LiquidAttention, LiquidAttentionConfig};

    fn layer() -> LiquidAttention {
        let config = LiquidAttentionConfig::new(24, 3).with_conv_kernel(Some(4));
        config.init(&Device::flex()).expect("a layer")
    }

    /// A maker that counts how often it was called.
    #[derive(Default)]
    struct Count {
        remembered: Remembered<usize>,
        made: usize,
    }

    impl Count {
        fn of(&mut self, layer: &LiquidAttention) -> usize {
            let next = self.made + 1;
            self.remembered.of(layer, || {
                self.made = next;
                next
            })
        }
    }

    struct Same;

    impl ModuleMapper for Same {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            param.map(|tensor| tensor)
        }
    }

    #[test]
    fn holds_for_as_long_as_the_parameters_do() {
        let mut count = Count::default();
        let layer = layer();
        assert_eq!(count.of(&layer), 1);
        assert_eq!(count.of(&layer), 1);
        // A clone shares the values, and a module that moved has them still.
        assert_eq!(count.of(&layer.clone()), 1);
        let moved = Box::new(layer);
        assert_eq!(count.of(&moved), 1);
        std::thread::scope(|scope| {
            let other = scope.spawn(|| count.of(&moved));
            assert_eq!(other.join().expect("a thread"), 1);
        });
    }

    #[test]
    fn ends_when_any_parameter_is_another() {
        let mut count = Count::default();
        let mut layer = layer();
        let mut last = count.of(&layer);
        let mut is_new = |layer: &LiquidAttention| {
            let made = count.of(layer);
            std::mem::replace(&mut last, made) != made
        };
        assert!(!is_new(&layer));
        let double = |linear: &mut Linear| {
            linear.weight = linear.weight.clone().map(|weight| weight.mul_scalar(2.0));
        };
        double(&mut layer.query);
        assert!(is_new(&layer));
        double(&mut layer.output);
        assert!(is_new(&layer));
        layer.a_log = layer.a_log.map(|numbers| numbers.add_scalar(1.0));
        assert!(is_new(&layer));
        layer.norm.gamma = layer.norm.gamma.map(|numbers| numbers.add_scalar(1.0));
        assert!(is_new(&layer));
        layer.conv = None;
        assert!(is_new(&layer));
        // What changes nothing may end it, but not the other way round.
        layer = layer.map(&mut Same);
        assert!(is_new(&layer));
        let record = layer.clone().into_record();
        layer = layer.load_record(record);
        assert!(is_new(&layer));
        layer = layer.apply_lora(Lora::new(2, 2.0));
        assert!(is_new(&layer));
        assert!(!is_new(&layer));
    }

    #[test]
    fn adapters_of_one_part_are_seen() {
        let mut count = Count::default();
        let mut layer = layer();
        assert_eq!(count.of(&layer), 1);
        // The base stays where it is; its value does not.
        layer.query = layer.query.apply_lora(Lora::new(2, 2.0));
        assert_eq!(count.of(&layer), 2);
    }

    #[test]
    fn a_clone_remembers_nothing() {
        let layer = layer();
        let remembered = Remembered::default();
        assert_eq!(remembered.of(&layer, || 1), 1);
        assert_eq!(remembered.clone().of(&layer, || 2), 2);
        assert_eq!(remembered.of(&layer, || 3), 1);
        remembered.forget();
        assert_eq!(remembered.of(&layer, || 4), 4);
    }
}
