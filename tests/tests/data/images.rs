//! Data sets as their authors publish them are read.

use heddle_frontends::image::image_set;

use crate::data;

#[test]
#[cfg_attr(not(heddle_data), ignore = "needs HEDDLE_DATA")]
fn the_official_files_are_read() {
    let data = data();
    for (file, count, label) in [
        ("cifar10_test_0-4999.bin", 5000, Some(3)),
        ("cifar100_test_0-4999.bin", 5000, Some(49)),
        ("cifar10_train_1000.bin", 1000, None),
        ("mnist/t10k-images-idx3-ubyte.gz", 10_000, Some(7)),
    ] {
        let images = image_set(data.join(file).to_str().unwrap()).unwrap();
        assert_eq!(images.len(), count);
        let first = images.get(0).unwrap().unwrap();
        assert!(
            label.is_none() || first.label == label,
            "{file}: {:?}",
            first.label
        );
    }
}
