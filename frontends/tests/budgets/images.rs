//! Pictures, tensors and batches.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;

use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use heddle_frontends::image::{self, Error, MAX_BYTES, MAX_PIXELS};
use heddle_ir::preprocess::Preprocess;
use heddle_tests::terminal::make_pipe;

use super::hostile;

/// A black PNG of `channels` channels of `bits` bits.
fn png(path: &Path, [width, height]: [u32; 2], bits: u8, color: u8, pixel: usize) {
    let mut file = BufWriter::new(File::create(path).unwrap());
    let mut chunk = |kind: &[u8; 4], data: &[u8]| {
        let mut crc = flate2::Crc::new();
        crc.update(kind);
        crc.update(data);
        file.write_all(&(data.len() as u32).to_be_bytes()).unwrap();
        file.write_all(kind).unwrap();
        file.write_all(data).unwrap();
        file.write_all(&crc.sum().to_be_bytes()).unwrap();
    };
    let mut pixels = ZlibEncoder::new(Vec::new(), Compression::fast());
    let row = vec![0; 1 + width as usize * pixel];
    for _ in 0..height {
        pixels.write_all(&row).unwrap();
    }
    chunk(b"\x89PNG", b"");
    let mut header = [width.to_be_bytes(), height.to_be_bytes()].concat();
    header.extend([bits, color, 0, 0, 0]);
    chunk(b"IHDR", &header);
    chunk(b"IDAT", &pixels.finish().unwrap());
    chunk(b"IEND", b"");
    file.into_inner().unwrap();
    // What was written as a chunk is the signature.
    let bytes = fs::read(path).unwrap();
    let signature = b"\x89PNG\r\n\x1a\n";
    fs::write(path, [signature, &bytes[12..]].concat()).unwrap();
}

fn refused(path: &Path) -> Error {
    let spec = path.to_str().unwrap();
    match image::image_set(spec) {
        Ok(sources) => sources.get(0).unwrap().unwrap_err(),
        Err(error) => error,
    }
}

/// Decodes a photo and makes a small tensor of it.
fn taken(path: &Path) {
    let sources = image::image_set(path.to_str().unwrap()).unwrap();
    let picture = sources.get(0).unwrap().unwrap();
    let unit = Preprocess::named("unit").unwrap();
    let (tensor, _) = image::to_tensor(&picture, &unit, [3, 32, 32]).unwrap();
    assert_eq!(tensor.len(), 3 * 32 * 32);
}

hostile!(
    a_png_of_16384_by_10922_pixels_is_refused_before_it_is_decoded,
    32,
    20,
    |folder| png(&folder.join("x.png"), [16384, 10922], 8, 2, 3),
    |folder| {
        let path = folder.join("x.png");
        assert!(fs::metadata(&path).unwrap().len() < 3_000_000);
        let error = refused(&path);
        assert!(matches!(error, Error::TooLarge { .. }), "{error}");
        let text = error.to_string();
        assert!(
            text.contains("x.png` is too large: it has 16384×10922 pixels"),
            "{text}"
        );
        assert!(
            text.contains("at most 33554432 pixels") && text.contains("help: scale"),
            "{text}"
        );
    }
);

hostile!(
    a_png_with_the_most_pixels_takes_less_than_512_mb,
    512,
    60,
    |folder| png(&folder.join("x.png"), [8192, 4096], 16, 6, 8),
    |folder| {
        assert_eq!(8192 * 4096, MAX_PIXELS);
        taken(&folder.join("x.png"));
    }
);

hostile!(
    a_jpeg_with_the_most_pixels_takes_less_than_512_mb,
    512,
    60,
    |folder| {
        let black = ::image::RgbImage::new(8192, 4096);
        black.save(folder.join("x.jpg")).unwrap();
    },
    |folder| taken(&folder.join("x.jpg"))
);

hostile!(
    a_progressive_jpeg_with_the_most_pixels_takes_less_than_512_mb,
    512,
    60,
    |folder| {
        let path = folder.join("x.jpg");
        ::image::RgbImage::new(8192, 4096).save(&path).unwrap();
        // The first scan is made one of coefficients of order 0 alone.
        let mut bytes = fs::read(&path).unwrap();
        let at = |bytes: &[u8], marker: u8| {
            bytes
                .windows(2)
                .position(|pair| pair == [0xff, marker])
                .unwrap()
        };
        let frame = at(&bytes, 0xc0);
        bytes[frame + 1] = 0xc2;
        let scan = at(&bytes, 0xda);
        let selection = scan + 2 + 2 + 1 + 2 * 3;
        assert_eq!(bytes[selection..selection + 3], [0, 63, 0]);
        bytes[selection + 1] = 0;
        fs::write(&path, bytes).unwrap();
    },
    |folder| {
        // Whether it is taken for damaged is the decoder's business.
        let sources = image::image_set(folder.join("x.jpg").to_str().unwrap()).unwrap();
        let _ = sources.get(0).unwrap();
    }
);

hostile!(
    a_gzipped_bomb_is_refused_while_it_unpacks,
    150,
    20,
    |folder| {
        let file = File::create(folder.join("x-images-idx3-ubyte.gz")).unwrap();
        let mut packed = GzEncoder::new(file, Compression::fast());
        packed
            .write_all(&[0, 0, 8, 3, 0, 0, 4, 0, 0, 0, 4, 0, 0, 0, 4, 0])
            .unwrap();
        let zeros = vec![0; 1 << 20];
        for _ in 0..1024 {
            packed.write_all(&zeros).unwrap();
        }
        packed.finish().unwrap();
    },
    |folder| {
        let text = refused(&folder.join("x-images-idx3-ubyte.gz")).to_string();
        assert!(
            text.contains("more than 67108864 bytes, unpacked"),
            "{text}"
        );
        assert!(text.contains("gunzip"), "{text}");
    }
);

hostile!(
    a_bomb_of_labels_is_not_unpacked,
    50,
    20,
    |folder| {
        let images = [0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 42];
        fs::write(folder.join("x-images-idx3-ubyte"), images).unwrap();
        let file = File::create(folder.join("x-labels-idx1-ubyte")).unwrap();
        let mut packed = GzEncoder::new(file, Compression::fast());
        packed.write_all(&[0, 0, 8, 1, 0, 0, 0, 1]).unwrap();
        packed.write_all(&vec![0; 100 << 20]).unwrap();
        packed.finish().unwrap();
    },
    |folder| {
        let sources =
            image::image_set(folder.join("x-images-idx3-ubyte").to_str().unwrap()).unwrap();
        assert_eq!(sources.get(0).unwrap().unwrap().label, None);
    }
);

/// Writes a batch of images of one byte.
fn write_sixteen_million_images(folder: &Path) {
    let mut bytes = vec![0, 0, 8, 3, 1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1];
    bytes.resize(16 + (1 << 24), 7);
    fs::write(folder.join("x"), bytes).unwrap();
}

hostile!(
    a_batch_of_sixteen_million_images_of_one_byte_takes_its_bytes,
    60,
    20,
    write_sixteen_million_images,
    |folder| {
        let spec = folder.join("x").to_str().unwrap().to_owned();
        let sources = image::image_set(&spec).unwrap();
        assert_eq!(sources.len(), 1 << 24);
        let name = sources.get((1 << 24) - 1).unwrap().unwrap().name;
        assert!(name.ends_with("x#16777215"), "{name}");
    }
);

hostile!(
    reading_sixteen_million_images_at_once_is_refused,
    512,
    60,
    write_sixteen_million_images,
    |folder| {
        let error = image::read(folder.join("x").to_str().unwrap()).unwrap_err();
        assert!(matches!(error, Error::TooLarge { .. }), "{error}");
    }
);

hostile!(
    a_file_of_more_than_512_mb_is_refused_by_its_length,
    20,
    10,
    |folder| {
        for name in ["x.bin", "x.jpg"] {
            let file = File::create(folder.join(name)).unwrap();
            file.set_len(MAX_BYTES + 1).unwrap();
        }
        let mut file = File::options()
            .write(true)
            .open(folder.join("x.jpg"))
            .unwrap();
        file.write_all(&[0xff, 0xd8, 0xff, 0xe0]).unwrap();
    },
    |folder| {
        let text = refused(&folder.join("x.bin")).to_string();
        assert!(
            text.contains("it has 512000001 bytes, at most 512000000"),
            "{text}"
        );
        let text = refused(&folder.join("x.jpg")).to_string();
        assert!(
            text.contains("it has 512000001 bytes, at most 67108864"),
            "{text}"
        );
    }
);

hostile!(
    a_tensor_of_four_million_axes_is_refused_by_its_header,
    60,
    10,
    |folder| {
        let shape = "1,".repeat(4_000_000);
        let header = format!("{{'descr': '|u1', 'fortran_order': False, 'shape': ({shape}), }}\n");
        let mut bytes = b"\x93NUMPY\x02\x00".to_vec();
        bytes.extend((header.len() as u32).to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.push(0);
        fs::write(folder.join("x.npy"), bytes).unwrap();
    },
    |folder| {
        let error = refused(&folder.join("x.npy"));
        assert!(matches!(error, Error::Damaged { .. }), "{error}");
    }
);

#[test]
fn a_named_pipe_in_a_folder_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let black = ::image::RgbImage::new(1, 1);
    black.save(folder.path().join("a.png")).unwrap();
    let pipe = folder.path().join("x.png");
    make_pipe(&pipe);
    for spec in [folder.path(), &pipe] {
        let error = image::image_set(spec.to_str().unwrap()).unwrap_err();
        assert!(
            error.to_string().ends_with("x.png`: is not a regular file"),
            "{error}"
        );
    }
    let error = image::image_set("/dev/zero").unwrap_err();
    assert_eq!(error.to_string(), "`/dev/zero`: is not a regular file");
}

#[test]
fn a_link_to_a_named_pipe_is_refused_when_it_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let (pipe, link) = (folder.path().join("pipe"), folder.path().join("x.png"));
    make_pipe(&pipe);
    std::os::unix::fs::symlink(&pipe, &link).unwrap();
    let sources = image::image_set(folder.path().to_str().unwrap()).unwrap();
    let error = sources.get(0).unwrap().unwrap_err();
    assert!(
        error.to_string().ends_with("x.png`: is not a regular file"),
        "{error}"
    );
}

#[test]
fn an_image_of_more_than_128_mib_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x");
    let file = File::create(&path).unwrap();
    file.set_len(16 + (1 << 28)).unwrap();
    (&file)
        .write_all(&[0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0x40, 0, 0, 0, 0x40, 0])
        .unwrap();
    let text = image::image_set(path.to_str().unwrap())
        .unwrap_err()
        .to_string();
    assert!(
        text.contains("it has 268435456 bytes an image, at most 134217728"),
        "{text}"
    );
}
