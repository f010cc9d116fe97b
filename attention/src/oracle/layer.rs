//! A whole layer in f64, one sequence at a time.

use std::collections::HashMap;

use burn::nn::Linear;

use super::Case;
use crate::attention::LiquidAttention;
use crate::core::DeltaRule;

/// A layer's weights by name, each with its number of columns.
#[derive(Clone, Debug)]
pub(crate) struct Layer {
    pub(crate) weights: HashMap<&'static str, (Vec<f64>, usize)>,
    model: usize,
    heads: usize,
    key_heads: usize,
    dk: usize,
    dv: usize,
    erase: bool,
    epsilon: f64,
}

/// Rows of numbers.
type Rows = Vec<Vec<f64>>;

/// A layer's projections, each with its name and its bias's.
pub(crate) fn linears(
    layer: &LiquidAttention,
) -> impl Iterator<Item = (&'static str, &'static str, &Linear)> {
    let all = [
        ("query", "query.bias", Some(&layer.query)),
        ("key", "key.bias", Some(&layer.key)),
        ("value", "value.bias", Some(&layer.value)),
        ("output", "output.bias", Some(&layer.output)),
        ("gate_a", "", Some(&layer.gate_a)),
        ("gate_b", "", Some(&layer.gate_b)),
        ("output_gate", "", layer.output_gate.as_ref()),
    ];
    all.into_iter()
        .filter_map(|(name, bias, linear)| Some((name, bias, linear?)))
}

impl Layer {
    pub(crate) fn new(layer: &LiquidAttention) -> Self {
        let mut weights = HashMap::new();
        for (name, bias, linear) in linears(layer) {
            let columns = linear.weight.dims()[1];
            weights.insert(
                name,
                (linear.weight.val().into_data().iter::<f64>().collect(), columns),
            );
            if let Some(values) = &linear.bias {
                weights.insert(bias, (values.val().into_data().iter::<f64>().collect(), columns));
            }
        }
        let vectors = [
            ("a_log", &layer.a_log),
            ("dt_bias", &layer.dt_bias),
            ("norm", &layer.norm.gamma),
        ];
        for (name, vector) in vectors {
            let values: Vec<f64> = vector.val().into_data().iter::<f64>().collect();
            let count = values.len();
            weights.insert(name, (values, count));
        }
        if let Some(conv) = &layer.conv {
            let kernel = conv.weight.dims()[1];
            weights.insert(
                "conv",
                (conv.weight.val().into_data().iter::<f64>().collect(), kernel),
            );
        }
        let settings = &layer.settings;
        Self {
            weights,
            model: settings.d_model,
            heads: settings.n_heads,
            key_heads: settings.key_heads,
            dk: settings.d_key,
            dv: settings.d_value,
            erase: settings.erase,
            epsilon: layer.norm.epsilon,
        }
    }

    fn linear(&self, name: &str, bias: &str, x: &Rows) -> Rows {
        let (weight, columns) = &self.weights[name];
        let bias = self.weights.get(bias);
        x.iter()
            .map(|row| {
                (0..*columns)
                    .map(|j| {
                        let sum: f64 = row
                            .iter()
                            .enumerate()
                            .map(|(i, x)| x * weight[i * columns + j])
                            .sum();
                        sum + bias.map_or(0.0, |(bias, _)| bias[j])
                    })
                    .collect()
            })
            .collect()
    }

    /// Computes the causal output of one sequence `[N][model]` from an empty state.
    pub(crate) fn causal(&self, x: &Rows) -> Rows {
        let case = self.case(x, x, x, false);
        let (output, _) = case.run(self.rule(self.erase));
        self.finish(&output, x)
    }

    /// Computes the output where every query sees every key, without order.
    pub(crate) fn full(&self, query: &Rows, key: &Rows, value: &Rows, keep: &[bool]) -> Rows {
        let mut case = self.case(query, key, value, true);
        for (t, _) in keep.iter().enumerate().filter(|(_, keep)| !**keep) {
            case.beta[t * self.heads..][..self.heads].fill(0.0);
        }
        let rule = self.rule(false);
        let (_, state) = case.run(rule);
        // Reads only: every query meets the state after all keys.
        let queries = Case {
            beta: vec![0.0; query.len() * self.heads],
            ..self.case(query, query, query, true)
        };
        let (output, _) = Case { state, ..queries }.run(rule);
        self.finish(&output, query)
    }

    /// Computes both scans and adds them.
    pub(crate) fn both_ways(&self, x: &Rows) -> Rows {
        let turned: Rows = x.iter().rev().cloned().collect();
        let (left, _) = self.case(x, x, x, false).run(self.rule(self.erase));
        let (right, _) = self
            .case(&turned, &turned, &turned, false)
            .run(self.rule(self.erase));
        let width = self.heads * self.dv;
        let output: Vec<f64> = (0..left.len())
            .map(|at| left[at] + right[(x.len() - 1 - at / width) * width + at % width])
            .collect();
        self.finish(&output, x)
    }

    fn rule(&self, erase: bool) -> DeltaRule {
        DeltaRule {
            erase,
            normalise: true,
            scale: 1.0 / (self.dk as f32).sqrt(),
            precise: false,
        }
    }

    /// Computes the rule's inputs for one sequence; queries may be fewer or more than keys only if `open`.
    fn case(&self, query: &Rows, key: &Rows, value: &Rows, open: bool) -> Case {
        let (q, k) = (
            self.linear("query", "query.bias", query),
            self.linear("key", "key.bias", key),
        );
        let v = self.linear("value", "value.bias", value);
        let (q, k, v) = match self.weights.get("conv") {
            Some(conv) => convolved(conv, q, k, v),
            None => (q, k, v),
        };
        let number = |name: &str, head: usize| self.weights[name].0[head];
        let softplus = |x: f64| x.max(0.0) + (-x.abs()).exp().ln_1p();
        let g: Rows = self
            .linear("gate_a", "", key)
            .iter()
            .map(|row| {
                let gate =
                    |(h, a): (usize, &f64)| -number("a_log", h).exp() * softplus(a + number("dt_bias", h));
                row.iter().enumerate().map(gate).collect()
            })
            .collect();
        let beta: Rows = self
            .linear("gate_b", "", key)
            .iter()
            .map(|row| row.iter().map(|b| 1.0 / (1.0 + (-b).exp())).collect())
            .collect();
        let mut q = self.shared(&q);
        if open {
            q.resize(key.len() * self.heads * self.dk, 0.0);
        }
        Case {
            batch: 1,
            tokens: key.len(),
            heads: self.heads,
            dk: self.dk,
            dv: self.dv,
            q,
            k: self.shared(&k),
            v: v.concat(),
            g: if open {
                vec![0.0; key.len() * self.heads]
            } else {
                g.concat()
            },
            beta: beta.concat(),
            state: vec![0.0; self.heads * self.dk * self.dv],
        }
    }

    /// Repeats heads of queries or keys.
    fn shared(&self, rows: &Rows) -> Vec<f64> {
        let times = self.heads / self.key_heads;
        rows.iter()
            .flat_map(|row| row.chunks(self.dk).flat_map(move |head| head.repeat(times)))
            .collect()
    }

    fn finish(&self, output: &[f64], x: &Rows) -> Rows {
        let (gamma, _) = &self.weights["norm"];
        let gate = self
            .weights
            .contains_key("output_gate")
            .then(|| self.linear("output_gate", "", x).concat());
        let normed: Vec<f64> = output
            .chunks(self.dv)
            .enumerate()
            .flat_map(|(row, head)| {
                let mean = head.iter().map(|x| x * x).sum::<f64>() / self.dv as f64;
                let gate = gate.as_ref();
                head.iter().enumerate().map(move |(i, x)| {
                    let z = gate.map(|gate| gate[row * self.dv + i]);
                    x / (mean + self.epsilon).sqrt() * gamma[i] * z.map_or(1.0, |z| z / (1.0 + (-z).exp()))
                })
            })
            .collect();
        let rows = normed.chunks(self.heads * self.dv).map(<[f64]>::to_vec).collect();
        let out = self.linear("output", "output.bias", &rows);
        assert!(out.iter().all(|row| row.len() == self.model));
        out
    }
}

/// Computes queries, keys and values after the convolution and SiLU.
fn convolved((weight, kernel): &(Vec<f64>, usize), q: Rows, k: Rows, v: Rows) -> (Rows, Rows, Rows) {
    let (wq, wk) = (q[0].len(), k[0].len());
    let all: Rows = (0..q.len())
        .map(|t| [q[t].clone(), k[t].clone(), v[t].clone()].concat())
        .collect();
    let mixed: Rows = (0..all.len())
        .map(|t| {
            (0..all[t].len())
                .map(|channel| {
                    let sum: f64 = (0..*kernel)
                        .filter(|j| t + j + 1 >= *kernel)
                        .map(|j| weight[channel * kernel + j] * all[t + j + 1 - kernel][channel])
                        .sum();
                    sum / (1.0 + (-sum).exp())
                })
                .collect()
        })
        .collect();
    let part = |from: usize, to: usize| mixed.iter().map(|row| row[from..to].to_vec()).collect();
    (part(0, wq), part(wq, wq + wk), part(wq + wk, all[0].len()))
}
