//! The list of operations as a whole.

use super::*;

fn window() -> Window {
    Window {
        kernel: [3, 2],
        stride: [2, 1],
        pads: [1, 0, 1, 0],
        dilation: [1, 1],
    }
}

/// Plans and text forms hold operations as these texts: they must not change.
#[test]
fn every_operation_keeps_its_serialised_form() {
    let [w0, w1] = [WeightId(0), WeightId(1)];
    let cases: [(LinearOp, &str); 12] = [
        (
            Conv {
                weight: w0,
                bias: Some(w1),
                window: window(),
                groups: 2,
            }
            .into(),
            r#"{"conv":{"weight":0,"bias":1,"window":{"kernel":[3,2],"stride":[2,1],"pads":[1,0,1,0],"dilation":[1,1]},"groups":2}}"#,
        ),
        (
            BatchNorm {
                scale: w0,
                bias: w1,
                mean: w0,
                variance: w1,
                epsilon: 0.5,
            }
            .into(),
            r#"{"batch_norm":{"scale":0,"bias":1,"mean":0,"variance":1,"epsilon":0.5}}"#,
        ),
        (
            ChannelAffine {
                scale: Some(w0),
                shift: None,
            }
            .into(),
            r#"{"channel_affine":{"scale":0,"shift":null}}"#,
        ),
        (
            ElementAffine {
                scale: None,
                shift: Some(w1),
            }
            .into(),
            r#"{"element_affine":{"scale":null,"shift":1}}"#,
        ),
        (
            AveragePool {
                window: window(),
                padding: PaddingInMean::Excluded,
            }
            .into(),
            r#"{"average_pool":{"window":{"kernel":[3,2],"stride":[2,1],"pads":[1,0,1,0],"dilation":[1,1]},"padding":"excluded"}}"#,
        ),
        (LinearOp::GlobalAveragePool, r#""global_average_pool""#),
        (LinearOp::Flatten, r#""flatten""#),
        (
            Gemm {
                weight: w1,
                bias: None,
            }
            .into(),
            r#"{"gemm":{"weight":1,"bias":null}}"#,
        ),
        (
            Slice {
                start: [0, 1, 2],
                end: [3, 4, 5],
                step: [1, 1, 2],
            }
            .into(),
            r#"{"slice":{"start":[0,1,2],"end":[3,4,5],"step":[1,1,2]}}"#,
        ),
        (
            Separable {
                rows: Some(w0),
                columns: None,
                stride: [2, 1],
            }
            .into(),
            r#"{"separable":{"rows":0,"columns":null,"stride":[2,1]}}"#,
        ),
        (
            Pad {
                before: [0, 1, 2],
                after: [3, 4, 5],
            }
            .into(),
            r#"{"pad":{"before":[0,1,2],"after":[3,4,5]}}"#,
        ),
        (
            Rearrange::whole(vec![vec![Some(1), None]], [2, 1, 1], [2]).into(),
            r#"{"rearrange":{"axes":[[1,null]],"from":[2,1,1],"to":[2],"skipped":[0,0]}}"#,
        ),
    ];
    for (op, text) in cases {
        assert_eq!(serde_json::to_string(&op).unwrap(), text);
        assert_eq!(serde_json::from_str::<LinearOp>(text).unwrap(), op);
    }
}

#[test]
fn offsets_are_left_out_where_that_is_possible() {
    let [w0, w1] = [WeightId(0), WeightId(1)];
    let gemm = |bias| LinearOp::from(Gemm { weight: w0, bias });
    assert!(gemm(Some(w1)).has_offset());
    assert_eq!(gemm(Some(w1)).without_offset(), Some(gemm(None)));
    assert_eq!(LinearOp::Flatten.without_offset(), Some(LinearOp::Flatten));
    let norm = LinearOp::from(BatchNorm {
        scale: w0,
        bias: w0,
        mean: w0,
        variance: w0,
        epsilon: 0.0,
    });
    assert_eq!(norm.without_offset(), None);
}

#[test]
fn weights_are_listed_in_the_order_of_the_fields() {
    let mut norm = LinearOp::from(BatchNorm {
        scale: WeightId(4),
        bias: WeightId(3),
        mean: WeightId(2),
        variance: WeightId(1),
        epsilon: 0.0,
    });
    let ids: Vec<u32> = norm.weights_mut().iter().map(|id| id.0).collect();
    assert_eq!(ids, [4, 3, 2, 1]);
    assert!(LinearOp::GlobalAveragePool.weights_mut().is_empty());
}
