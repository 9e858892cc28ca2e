//! Parts of tensors by numbers, ranges and masks; tensors by a rule.

use rlrun_core::{Purpose, rng_stream};
use rlrun_tensor::{DType, NewAxis, Tensor, TensorError, catch, no_grad};

fn counted(shape: &[usize]) -> Tensor {
    Tensor::arange(0.0, shape.iter().product::<usize>() as f64, 1.0).view(shape)
}

#[test]
fn every_kind_of_index_takes_what_torch_takes() {
    let x = counted(&[2, 3, 4]);
    let check = |view: Tensor, dims: &[usize], numbers: &[f32]| {
        assert_eq!((view.dims(), &view.to_vec()[..]), (dims, numbers));
        assert!(view.shares_storage(&x));
    };
    check(x.i((1, 2, 3)), &[], &[23.0]);
    check(x.i((-1, -1)), &[4], &[20.0, 21.0, 22.0, 23.0]);
    check(x.i((0, .., 1)), &[3], &[1.0, 5.0, 9.0]);
    check(x.i((.., 1..2, 2)), &[2, 1], &[6.0, 18.0]);
    check(x.i((1_usize, ..2_usize, 3..)), &[2, 1], &[15.0, 19.0]);
    check(x.i((0_isize, 0_i64..=1, -2..)), &[2, 2], &[2.0, 3.0, 6.0, 7.0]);
    check(x.i((0, 0, ..-2)), &[2], &[0.0, 1.0]);
    check(x.i((0, 0, ..=-1)), &[4], &[0.0, 1.0, 2.0, 3.0]);
    check(x.i((0, 0, ..=-2)), &[3], &[0.0, 1.0, 2.0]);
    check(x.i((0, 0, 4..)), &[0], &[]);
    check(x.i((NewAxis, 0, NewAxis, 0, ..1)), &[1, 1, 1], &[0.0]);
    assert_eq!(x.i(..).dims(), [2, 3, 4]);
    assert_eq!(x.i((.., .., .., NewAxis)).dims(), [2, 3, 4, 1]);
    assert_eq!(Tensor::scalar(2.0).i(NewAxis).dims(), [1]);
    // Of any type.
    assert_eq!(Tensor::arange_i64(0, 6, 1).view([2, 3]).i((1, 1..)).to_vec_i64(), [4, 5]);
}

#[test]
fn indices_outside_are_refused_with_the_extent() {
    let x = counted(&[2, 3]);
    let error = |f: &dyn Fn() -> Tensor| catch(f).unwrap_err().to_string();
    let at = "E-SHAPE-03: `index`: index 2 is out of range for an extent of 2";
    assert_eq!(error(&|| x.i(2)), at);
    let at = "E-SHAPE-03: `index`: index -4 is out of range for an extent of 3";
    assert_eq!(error(&|| x.i((0, -4))), at);
    let range = "E-SHAPE-03: `index`: bound 4 is out of range for the range 1..4 of an extent of 3";
    assert_eq!(error(&|| x.i((.., 1..4))), range);
    let range = "E-SHAPE-03: `index`: bound 1 is out of range for the range 2..1 of an extent of 3";
    #[expect(clippy::reversed_empty_ranges, reason = "it is refused")]
    let reversed = || x.i((.., 2..1));
    assert_eq!(error(&reversed), range);
    let range =
        "E-SHAPE-03: `index`: bound -4 is out of range for the range -4.. of an extent of 3";
    assert_eq!(error(&|| x.i((.., -4..))), range);
    assert_eq!(error(&|| x.i((0, 0, 0))), "E-SHAPE-01: `index`: 3 indices of [2, 3]");
    assert_eq!(error(&|| Tensor::scalar(1.0).i(..)), "E-SHAPE-01: `index`: 1 indices of []");
    assert!(error(&|| x.i(u64::MAX as usize)).contains("out of range"));
    assert!(error(&|| x.i((.., usize::MAX..))).contains("out of range"));
    assert!(error(&|| x.i((.., ..=usize::MAX))).contains("out of range"));
}

#[test]
fn gradients_and_writes_pass_through_an_index() {
    let x = counted(&[2, 3]).requires_grad_(true);
    (x.i((1, ..2)) * 2.0).sum().backward();
    assert_eq!(x.grad().unwrap().to_vec(), [0.0, 0.0, 0.0, 2.0, 2.0, 0.0]);
    let y = &x * 1.0;
    y.i((.., 1)).fill_(7.0);
    assert_eq!(y.to_vec(), [0.0, 7.0, 2.0, 3.0, 7.0, 5.0]);
    x.set_grad(None);
    y.sum().backward();
    assert_eq!(x.grad().unwrap().to_vec(), [1.0, 0.0, 1.0, 1.0, 0.0, 1.0]);
}

#[test]
fn nonzero_lists_indices_row_by_row() {
    let x = Tensor::from_slice(&[0.0, 1.0, f32::NAN, -0.0, 0.0, -2.0], [2, 3]);
    let found = x.nonzero();
    assert_eq!((found.dims(), &found.to_vec_i64()[..]), (&[3, 2][..], &[0, 1, 0, 2, 1, 2][..]));
    let mask = Tensor::from_bool(&[true, false, true], [3]);
    assert_eq!(mask.nonzero().to_vec_i64(), [0, 2]);
    assert_eq!(x.transpose(0, 1).nonzero().to_vec_i64(), [1, 0, 2, 0, 2, 1]);
    assert_eq!(Tensor::from_i64(&[0, 3], [2]).nonzero().to_vec_i64(), [1]);
    assert_eq!(Tensor::scalar(3.0).nonzero().dims(), [1, 0]);
    assert_eq!(Tensor::scalar(0.0).nonzero().dims(), [0, 0]);
    assert_eq!(Tensor::zeros([0, 3]).nonzero().dims(), [0, 2]);
}

#[test]
fn masked_select_takes_in_row_major_order_and_broadcasts() {
    let x = counted(&[2, 3]);
    let mask = x.gt_scalar(2.5);
    assert_eq!(x.masked_select(&mask).to_vec(), [3.0, 4.0, 5.0]);
    let column = Tensor::from_bool(&[false, true, true], [3]);
    assert_eq!(x.masked_select(&column).to_vec(), [1.0, 2.0, 4.0, 5.0]);
    assert_eq!(x.transpose(0, 1).masked_select(&mask.transpose(0, 1)).to_vec(), [3.0, 4.0, 5.0]);
    // A row that the mask repeats gathers its gradients.
    let row = counted(&[3]).requires_grad_(true);
    row.masked_select(&Tensor::from_bool(&[true, false, true, true, true, false], [2, 3]))
        .sum()
        .backward();
    assert_eq!(row.grad().unwrap().to_vec(), [2.0, 1.0, 1.0]);
    let none = row.masked_select(&Tensor::from_bool(&[false; 3], [3]));
    assert_eq!(none.dims(), [0]);
    row.set_grad(None);
    none.sum().backward();
    assert_eq!(row.grad().unwrap().to_vec(), [0.0; 3]);
    assert_eq!(Tensor::scalar(2.0).masked_select(&Tensor::from_bool(&[true], [])).to_vec(), [2.0]);
}

#[test]
fn masked_select_saves_its_mask() {
    let x = counted(&[3]).requires_grad_(true);
    let mask = Tensor::from_bool(&[true, false, true], [3]);
    let chosen = x.masked_select(&mask);
    no_grad(|| mask.copy_(&Tensor::from_bool(&[false; 3], [3])));
    let error = catch(|| chosen.sum().backward()).unwrap_err();
    assert!(matches!(error, TensorError::SavedTensorModified { op: "masked_select", .. }));
    assert!(catch(|| x.masked_select(&x)).is_err());
    assert!(catch(|| x.masked_select(&Tensor::from_bool(&[true; 2], [2]))).is_err());
}

#[test]
fn ranges_are_those_of_torch() {
    // Recorded with PyTorch 2.15.
    assert_eq!(Tensor::arange(0.0, 1.0, 0.3).to_vec(), [0.0, 0.3, 0.6, 0.9]);
    assert_eq!(Tensor::arange(1.0, -1.0, -0.75).to_vec(), [1.0, 0.25, -0.5]);
    assert_eq!(Tensor::arange(2.0, 2.0, 1.0).dims(), [0]);
    let ranges =
        [(0.1, 100.3, 0.7), (-3.0, 50.0, 0.1), (1e6, 1e6 + 100.0, 0.37), (5.0, -5.0, -0.01)];
    let lengths = ranges.map(|(start, end, step)| Tensor::arange(start, end, step).numel());
    assert_eq!(lengths, [144, 530, 271, 1000]);
    // Its last bits depend on the processor: it adds steps within a vector.
    let near = |x: Tensor, places: [usize; 3], expected: [f32; 3]| {
        let found = x.to_vec();
        for (place, expected) in places.into_iter().zip(expected) {
            let found = found[place];
            assert!((found - expected).abs() <= 1e-6 * expected.abs(), "{found}, {expected}");
        }
    };
    near(Tensor::arange(0.1, 100.3, 0.7), [1, 72, 143], [0.8, 50.5, 100.200005]);
    near(Tensor::arange(-3.0, 50.0, 0.1), [1, 265, 529], [-2.9, 23.5, 49.9]);
    near(Tensor::linspace(0.1, 100.3, 77), [1, 37, 76], [1.4184213, 48.88158, 100.3]);
    near(Tensor::linspace(5.0, -5.0, 33), [1, 16, 32], [4.6875, 0.0, -5.0]);
    assert_eq!(Tensor::arange_i64(5, -4, -3).to_vec_i64(), [5, 2, -1]);
    assert_eq!(Tensor::arange_i64(0, 7, 3).to_vec_i64(), [0, 3, 6]);
    assert_eq!(Tensor::arange_i64(i64::MAX - 1, i64::MAX, 5).to_vec_i64(), [i64::MAX - 1]);
    assert_eq!(Tensor::linspace(0.0, 1.0, 4).to_vec(), [0.0, 1.0 / 3.0, 1.0 - 1.0 / 3.0, 1.0]);
    assert_eq!(Tensor::linspace(3.0, -1.0, 1).to_vec(), [3.0]);
    assert_eq!(Tensor::linspace(0.0, 1.0, 0).dims(), [0]);
    assert_eq!(Tensor::eye(2).to_vec(), [1.0, 0.0, 0.0, 1.0]);
    assert_eq!(Tensor::eye(0).dims(), [0, 0]);
    let refused: [fn() -> Tensor; 8] = [
        || Tensor::arange(0.0, 1.0, 0.0),
        || Tensor::arange(0.0, 1.0, -0.5),
        || Tensor::arange(0.0, f64::NAN, 1.0),
        || Tensor::arange(0.0, f64::INFINITY, 1.0),
        || Tensor::arange_i64(0, 3, 0),
        || Tensor::arange_i64(0, 3, -1),
        || Tensor::randint(3, 3, [2], &mut rng_stream(0, Purpose::Layers, 0)),
        || Tensor::arange_i64(0, i64::MAX, 1),
    ];
    for (case, f) in refused.into_iter().enumerate() {
        let error = catch(f).expect_err(&format!("case {case}"));
        assert!(error.code().starts_with("E-SHAPE-0"), "{error}");
    }
}

#[test]
fn draws_follow_their_stream_and_their_distribution() {
    let stream = || rng_stream(3, Purpose::Exploration, 1);
    let same = |draw: &dyn Fn() -> Tensor| {
        assert_eq!(draw().to_vec(), draw().to_vec());
        draw()
    };
    let normal = same(&|| Tensor::randn([100, 100], &mut stream()));
    assert!(normal.mean().item().abs() < 0.03 && (normal.std().item() - 1.0).abs() < 0.03);
    let uniform = same(&|| Tensor::rand([100, 100], &mut stream()));
    assert!((uniform.mean().item() - 0.5).abs() < 0.01);
    assert!(uniform.min().item() >= 0.0 && uniform.max().item() < 1.0);
    let whole = Tensor::randint(-2, 3, [1000], &mut stream()).to_vec_i64();
    for value in -2..3 {
        let count = whole.iter().filter(|&&x| x == value).count();
        assert!((140..260).contains(&count), "{value}: {count}");
    }
    assert!(whole.iter().all(|x| (-2..3).contains(x)));
    let order = Tensor::randperm(50, &mut stream()).to_vec_i64();
    let mut sorted = order.clone();
    sorted.sort_unstable();
    assert!(sorted.iter().copied().eq(0..50) && order != sorted);
    // Row-major: the shape does not matter; and a stream goes on.
    let mut rng = stream();
    let [first, second] = [(); 2].map(|()| Tensor::randn([10], &mut rng).to_vec());
    assert_eq!([first, second].concat(), normal.to_vec()[..20]);
    let like = Tensor::zeros([3, 2]).transpose(0, 1);
    assert_eq!(like.randn_like(&mut stream()).to_vec(), normal.to_vec()[..6]);
    assert_eq!(like.rand_like(&mut stream()).dims(), [2, 3]);
    assert_eq!(like.full_like(2.5).to_vec(), [2.5; 6]);
    assert_eq!((like.ones_like().strides(), like.ones_like().version()), (&[1, 2][..], 0));
}

#[test]
fn indices_and_masks_are_picked_and_joined_as_numbers_are() {
    let numbers = counted(&[2, 3]);
    let index = Tensor::arange_i64(0, 6, 1).view([2, 3]);
    let mask = numbers.gt_scalar(2.5);
    let same = |f: &dyn Fn(&Tensor) -> Tensor| {
        let expected = f(&numbers);
        let (whole, flags) = (f(&index), f(&mask));
        assert_eq!((whole.dims(), flags.dims()), (expected.dims(), expected.dims()));
        assert_eq!(whole.to_vec_i64(), expected.to_dtype(DType::I64).to_vec_i64());
        assert_eq!(flags.to_vec_bool(), expected.gt_scalar(2.5).to_vec_bool());
    };
    let rows = Tensor::from_i64(&[1, 0, 1], [3]);
    let each = Tensor::from_i64(&[2, 2, 0, 1], [2, 2]);
    let odd = Tensor::from_bool(&[true, false, true], [3]);
    same(&|x| x.index_select(0, &rows));
    same(&|x| x.index_select(1, &rows));
    same(&|x| x.transpose(0, 1).index_select(0, &rows));
    same(&|x| x.index_select(0, &Tensor::from_i64(&[], [0])));
    same(&|x| x.gather(1, &each));
    same(&|x| x.transpose(0, 1).gather(0, &each));
    same(&|x| x.masked_select(&odd));
    same(&|x| x.transpose(0, 1).masked_select(&odd.unsqueeze(1)));
    same(&|x| x.i(0).masked_select(&Tensor::from_bool(&[true; 6], [2, 3])));
    same(&|x| Tensor::cat(&[x, &x.i((.., ..1))], 1));
    same(&|x| Tensor::stack(&[x, x], 2));
    same(&|x| x.repeat(&[2, 1, 2]));
    assert_eq!(catch(|| index.index_select(0, &each)).unwrap_err().code(), "E-SHAPE-01");
    assert_eq!(catch(|| Tensor::cat(&[&index, &mask], 0)).unwrap_err().code(), "E-SHAPE-04");
}
