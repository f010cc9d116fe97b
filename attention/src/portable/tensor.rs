//! A thin shell around a backend's tensor, so that formulas read as formulas.
//!
//! burn's own `Tensor` is above the choice of the backend; the operations of [`crate::core`] are below it.
//! Every method is one operation of the backend, on f32 unless said otherwise. Binary operations broadcast.

use std::ops::{Add, Mul, Sub};

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, FloatDType, TensorMetadata};
use burn::tensor::{DType, Shape, Slice, TensorData};

pub(super) struct T<B: Backend>(pub(super) FloatTensor<B>);

impl<B: Backend> Clone for T<B> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<B: Backend> T<B> {
    /// Converts a tensor of any number type to f32.
    pub(super) fn wide(tensor: FloatTensor<B>) -> Self {
        Self(tensor).cast(DType::F32)
    }

    pub(super) fn zeros<const D: usize>(like: &Self, shape: [usize; D]) -> Self {
        Self(B::float_zeros(
            Shape::from(shape),
            &like.0.device(),
            FloatDType::F32,
        ))
    }

    pub(super) fn from_data(data: TensorData, like: &Self) -> Self {
        Self(B::float_from_data(data, &like.0.device()))
    }

    pub(super) fn dims<const D: usize>(&self) -> [usize; D] {
        self.0.shape().dims()
    }

    pub(super) fn shape(&self) -> Vec<usize> {
        self.0.shape().to_vec()
    }

    pub(super) fn dtype(&self) -> DType {
        self.0.dtype()
    }

    pub(super) fn cast(self, dtype: DType) -> Self {
        if self.0.dtype() == dtype {
            return self;
        }
        Self(B::float_cast(self.0, dtype.into()))
    }

    pub(super) fn matmul(self, other: Self) -> Self {
        Self(B::float_matmul(self.0, other.0))
    }

    /// Swaps the last two dimensions.
    pub(super) fn transpose(self) -> Self {
        Self(B::float_transpose(self.0))
    }

    pub(super) fn permute(self, axes: &[usize]) -> Self {
        Self(B::float_permute(self.0, axes))
    }

    pub(super) fn reshape<const D: usize>(self, shape: [usize; D]) -> Self {
        Self(B::float_reshape(self.0, Shape::from(shape)))
    }

    pub(super) fn scale(self, factor: f32) -> Self {
        Self(B::float_mul_scalar(self.0, factor.into()))
    }

    pub(super) fn add_scalar(self, term: f32) -> Self {
        Self(B::float_add_scalar(self.0, term.into()))
    }

    pub(super) fn exp(self) -> Self {
        Self(B::float_exp(self.0))
    }

    pub(super) fn recip(self) -> Self {
        Self(B::float_recip(self.0))
    }

    pub(super) fn expand<const D: usize>(self, shape: [usize; D]) -> Self {
        Self(B::float_expand(self.0, Shape::from(shape)))
    }

    pub(super) fn sigmoid(self) -> Self {
        Self(B::sigmoid(self.0))
    }

    pub(super) fn sqrt(self) -> Self {
        Self(B::float_sqrt(self.0))
    }

    pub(super) fn cumsum(self, dim: usize) -> Self {
        Self(B::float_cumsum(self.0, dim))
    }

    /// Sums a dimension, which stays with length 1.
    pub(super) fn sum(self, dim: usize) -> Self {
        Self(B::float_sum_dim(self.0, dim))
    }

    pub(super) fn flip(self, dim: usize) -> Self {
        Self(B::float_flip(self.0, &[dim]))
    }

    /// Takes `length` entries of a dimension, from `start`.
    pub(super) fn narrow(self, dim: usize, start: usize, length: usize) -> Self {
        let shape = self.0.shape();
        if start == 0 && shape[dim] == length {
            return self;
        }
        let slices: Vec<Slice> = (0..shape.num_dims())
            .map(|axis| match axis == dim {
                true => Slice::new(start as isize, Some((start + length) as isize), 1),
                false => Slice::new(0, None, 1),
            })
            .collect();
        Self(B::float_slice(self.0, &slices))
    }

    pub(super) fn cat(parts: Vec<Self>, dim: usize) -> Self {
        Self(B::float_cat(parts.into_iter().map(|part| part.0).collect(), dim))
    }
}

impl<B: Backend> Add for T<B> {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(B::float_add(self.0, other.0))
    }
}

impl<B: Backend> Sub for T<B> {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(B::float_sub(self.0, other.0))
    }
}

impl<B: Backend> Mul for T<B> {
    type Output = Self;
    fn mul(self, other: Self) -> Self {
        Self(B::float_mul(self.0, other.0))
    }
}
