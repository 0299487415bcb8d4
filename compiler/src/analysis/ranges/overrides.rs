//! Ranges that the user gives: `--range PATTERN=B`.

use std::str::FromStr;

use heddle_ir::nn::Model;

use super::Targets;
use crate::error::Error;

/// Names that an error message lists at most.
const LISTED: usize = 12;

/// A bound for every activation whose name matches a pattern, or for the image's elements.
#[derive(Clone, Debug, PartialEq)]
pub struct RangeOverride {
    /// The name of the activation's node or of the node that it follows, `PRODUCT/operand.0` or
    /// `.1` for an operand of a product, or the name of the last node for the logits. `*` stands
    /// for any number of characters. The model's input is matched by its own name alone.
    pub pattern: String,
    /// The bound, positive and finite.
    pub bound: f64,
}

impl RangeOverride {
    /// A bound for the activations that `pattern` matches.
    ///
    /// # Errors
    /// [`Error::RangeSyntax`] if the pattern is empty, or the bound is not positive and finite.
    pub fn new(pattern: impl Into<String>, bound: f64) -> Result<Self, Error> {
        let pattern = pattern.into();
        let reason = if pattern.is_empty() {
            "the pattern is empty"
        } else if !(bound > 0.0 && bound.is_finite()) {
            "the bound is not positive and finite"
        } else {
            return Ok(Self { pattern, bound });
        };
        Err(Error::RangeSyntax {
            text: format!("{pattern}={bound}"),
            reason,
        })
    }
}

impl FromStr for RangeOverride {
    type Err = Error;

    /// Parses `PATTERN=B`; the pattern may itself contain `=`.
    fn from_str(text: &str) -> Result<Self, Error> {
        let error = |reason| Error::RangeSyntax {
            text: text.to_owned(),
            reason,
        };
        let (pattern, bound) = text
            .rsplit_once('=')
            .ok_or_else(|| error("it has no `=`"))?;
        let bound = bound
            .trim()
            .parse()
            .map_err(|_| error("the bound is not a number"))?;
        Self::new(pattern, bound)
    }
}

/// The bounds that the user gave.
pub(super) struct Given {
    /// For every target.
    pub(super) targets: Vec<Option<f64>>,
    /// For the image's elements.
    pub(super) input: Option<f64>,
}

/// The given bound of every target and of the input; where several patterns match, the last counts.
/// The input has its name alone: `*` does not stand for it, since a bound for all activations says
/// nothing of pixels.
pub(super) fn resolve(
    overrides: &[RangeOverride],
    model: &Model,
    targets: &Targets,
) -> Result<Given, Error> {
    let inputs: Vec<&str> = model
        .inputs()
        .map(|input| model.graph.node(input).name.as_str())
        .collect();
    let (mut bounds, mut input) = (vec![None; targets.len()], None);
    for RangeOverride { pattern, bound } in overrides {
        RangeOverride::new(pattern.as_str(), *bound)?;
        let mut matched = inputs.contains(&pattern.as_str());
        if matched {
            input = Some(*bound);
        }
        for (target, slot) in targets.iter().zip(&mut bounds) {
            if target.names(model).any(|name| matches(pattern, name)) {
                *slot = Some(*bound);
                matched = true;
            }
        }
        if !matched {
            let of_targets = targets.iter().map(|target| target.name.as_str());
            let names: Vec<&str> = inputs.iter().copied().chain(of_targets).collect();
            return Err(Error::RangeUnmatched {
                pattern: pattern.clone(),
                bound: *bound,
                names: abbreviate(&names),
            });
        }
    }
    Ok(Given {
        targets: bounds,
        input,
    })
}

/// Whether `name` matches `pattern`, in which `*` stands for any characters, none included.
fn matches(pattern: &str, name: &str) -> bool {
    let Some((prefix, rest)) = pattern.split_once('*') else {
        return pattern == name;
    };
    let Some(mut name) = name.strip_prefix(prefix) else {
        return false;
    };
    let mut pieces: Vec<&str> = rest.split('*').collect();
    // The last piece is anchored at the end; every other is matched as early as possible.
    let suffix = pieces.pop().unwrap_or_default();
    for piece in pieces {
        match name.find(piece) {
            Some(at) => name = &name[at + piece.len()..],
            None => return false,
        }
    }
    name.ends_with(suffix)
}

/// The names in quotes, with a count in place of those beyond the first dozen.
pub(super) fn abbreviate(names: &[&str]) -> String {
    let quoted: Vec<String> = names
        .iter()
        .take(LISTED)
        .map(|name| format!("`{name}`"))
        .collect();
    match names.len().checked_sub(LISTED) {
        Some(more) if more > 0 => format!("{} and {more} more", quoted.join(", ")),
        _ => quoted.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_match_any_characters() {
        for (pattern, name, expected) in [
            ("relu", "relu", true),
            ("relu", "relu_1", false),
            ("*", "", true),
            ("*", "anything", true),
            ("layer1.*", "layer1.0/relu", true),
            ("layer1.*", "layer2.0/relu", false),
            ("*/relu*", "a/b/relu_1", true),
            ("*relu", "relu_relu", true),
            ("a*b*a", "aba", true),
            ("a*a", "a", false),
            ("a*b*c", "a-c-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("**ü*", "xüy", true),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} on {name}");
        }
    }

    #[test]
    fn overrides_parse() {
        let parsed: RangeOverride = "a=b*=2.5e1".parse().unwrap();
        assert_eq!(
            parsed,
            RangeOverride {
                pattern: "a=b*".to_owned(),
                bound: 25.0
            }
        );
        for text in [
            "relu", "=3", "relu=", "relu=x", "relu=0", "relu=-1", "relu=inf", "relu=NaN",
        ] {
            let error = text.parse::<RangeOverride>().unwrap_err().to_string();
            assert!(
                error.contains(text) && error.contains("PATTERN=B"),
                "{error}"
            );
        }
    }

    #[test]
    fn long_lists_are_cut() {
        let names = vec!["x"; 15];
        assert!(abbreviate(&names).ends_with("`x` and 3 more"));
        assert_eq!(abbreviate(&names[..2]), "`x`, `x`");
        assert!(!abbreviate(&names[..12]).contains("more"));
    }
}
