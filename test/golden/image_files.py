"""Picture files of many kinds and what Pillow's convert("RGB") makes of them: image_files.json.

Every row is a file (base64) with the size and the MD5 of its RGB bytes; those are null where Pillow does not read it. What
Pillow cannot write is written by hand below. Run: python image_files.py
"""
import base64
import hashlib
import io
import json
import pathlib
import struct
import warnings

import numpy as np
from PIL import Image

W, H = 21, 13
y, x = np.mgrid[0:H, 0:W]
RGB = np.stack([20 + x * 9, 40 + y * 13, 200 - (x + y) * 5], axis=-1)
RGB[(x - 7) ** 2 + (y - 6) ** 2 < 16] = (230, 60, 90)
RGB = RGB.astype(np.uint8)
GREY = RGB[..., 0].copy()
ALPHA = ((x * 7 + y * 3) % 256).astype(np.uint8)
NOISE = ((x * 7919 + y * 104729 + x * y * 31) * 2654435761 % 2**32 >> 24).astype(np.uint8)
NOISE = np.stack([NOISE, NOISE[::-1], NOISE[:, ::-1]], axis=-1)


def saved(image, kind, **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def common():
    rgb, noise, grey = (Image.fromarray(a) for a in (RGB, NOISE, GREY))
    rgba, la = rgb.copy(), grey.convert("LA")
    rgba.putalpha(Image.fromarray(ALPHA))
    la.putalpha(Image.fromarray(ALPHA))
    holes = rgb.copy()
    holes.putalpha(Image.fromarray((((x + y) % 5 > 1) * 255).astype(np.uint8)))
    palette, one, cmyk = rgb.quantize(32), rgb.convert("1"), rgb.convert("CMYK")
    deep = Image.fromarray((NOISE[..., 0].astype(np.uint16) * 256 + GREY))

    for quality, subsampling in ((30, 2), (75, 1), (95, 0)):
        yield f"quality {quality} subsampling {subsampling}.jpg", saved(rgb, "JPEG", quality=quality, subsampling=subsampling)
    yield "noise.jpg", saved(noise, "JPEG", quality=80)
    yield "progressive.jpg", saved(rgb, "JPEG", progressive=True)
    yield "grey.jpg", saved(grey, "JPEG")
    yield "cmyk.jpg", saved(cmyk, "JPEG")
    yield "mpo.jpg", saved(rgb, "MPO", save_all=True, append_images=[noise])

    for name, image in dict(rgb=rgb, grey=grey, one=one, palette=palette, la=la, rgba=rgba).items():
        yield f"{name}.png", saved(image, "PNG")
    for bits in (1, 2, 4):
        yield f"palette of {bits} bits.png", saved(rgb.quantize(2**bits), "PNG", bits=bits)
    yield "palette with a transparent index.png", saved(palette, "PNG", transparency=5)
    yield "palette with alpha.png", saved(palette, "PNG", transparency=bytes(range(0, 256, 8)))
    yield "rgb with a transparent colour.png", saved(rgb, "PNG", transparency=(230, 60, 90))
    yield "animated.png", saved(rgb, "PNG", save_all=True, append_images=[noise])
    yield "animated with a default image.png", saved(rgb, "PNG", save_all=True, append_images=[noise], default_image=True)

    yield "lossy.webp", saved(rgb, "WEBP", quality=80)
    yield "noise.webp", saved(noise, "WEBP", quality=50)
    yield "lossless with alpha.webp", saved(rgba, "WEBP", lossless=True, exact=True)
    yield "lossy with alpha.webp", saved(rgba, "WEBP", quality=80)
    yield "animated.webp", saved(rgb, "WEBP", save_all=True, append_images=[noise])

    yield "opaque.gif", saved(rgb, "GIF")
    yield "grey.gif", saved(grey, "GIF")
    yield "noise.gif", saved(noise, "GIF")
    yield "transparent.gif", saved(holes, "GIF")
    yield "palette with a transparent index.gif", saved(palette, "GIF", transparency=5)
    yield "animated.gif", saved(rgb, "GIF", save_all=True, append_images=[noise], duration=50)
    yield "animated transparent.gif", saved(holes, "GIF", save_all=True, append_images=[noise], duration=50, disposal=2)

    for compression in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"):
        yield f"rgb {compression}.tif", saved(rgb, "TIFF", compression=compression)
    for name, image in dict(grey=grey, one=one, palette=palette, la=la, rgba=rgba, cmyk=cmyk).items():
        yield f"{name}.tif", saved(image, "TIFF")
    yield "one group4.tif", saved(one, "TIFF", compression="group4")
    yield "predictor.tif", saved(rgb, "TIFF", compression="tiff_lzw", tiffinfo={317: 2})
    yield "pages.tif", saved(rgb, "TIFF", save_all=True, append_images=[noise])
    yield "big.tif", saved(rgb, "TIFF", big_tiff=True)
    yield "floats.tif", saved(Image.fromarray((RGB[..., 0] * 1.3 - 20.5).astype(np.float32)), "TIFF")
    yield "integers.tif", saved(Image.fromarray(GREY.astype(np.int32) * 3 - 100), "TIFF")
    yield "ycbcr.tif", saved(rgb.convert("YCbCr"), "TIFF")
    yield "ycbcr jpeg.tif", saved(rgb.convert("YCbCr"), "TIFF", compression="jpeg")
    yield "lab.tif", saved(rgb.convert("LAB"), "TIFF")
    yield "deep grey.tif", saved(deep, "TIFF")
    yield "deep grey.png", saved(deep, "PNG")

    for name, image in dict(rgb=rgb, grey=grey, one=one, palette=palette, rgba=rgba).items():
        yield f"{name}.bmp", saved(image, "BMP")
    yield "rgb.ppm", saved(rgb, "PPM")
    yield "grey.pgm", saved(grey, "PPM")
    yield "avif called a jpeg.jpg", saved(rgb, "AVIF", quality=90)
    yield "jpeg 2000.jp2", saved(rgb, "JPEG2000")
    yield "icon.ico", saved(rgb.resize((16, 16)), "ICO")
    yield "gif called a png.png", saved(rgb, "GIF")


def gifs():
    """Frames that do not cover the screen: a GIF of 21 x 13 laid at (4, 3) on a screen of 30 x 20."""
    rgb = Image.fromarray(RGB)
    palette = rgb.quantize(32)
    for name, file in {
        "small frame.gif": saved(palette, "GIF"),
        "small transparent frame.gif": saved(palette, "GIF", transparency=5),
    }.items():
        out = bytearray(file)
        struct.pack_into("<HH", out, 6, 30, 20)
        struct.pack_into("<HH", out, out.index(b"\x2c\0\0\0\0" + struct.pack("<HH", W, H)) + 1, 4, 3)
        yield name, bytes(out)
    wide = bytearray(saved(palette, "GIF"))
    struct.pack_into("<HH", wide, 6, 10, 9)
    yield "frame beyond the screen.gif", bytes(wide)


def tiff(planes, photometric, order="<", tags=(), tile=None, planar=False, bits=None):
    """An uncompressed TIFF of samples [H, W, S], in one strip a plane or in tiles."""
    planes = planes.reshape(H, W, -1)
    samples = planes.shape[2]
    planes = planes.astype(planes.dtype.newbyteorder(order))
    parts = [planes[..., i] for i in range(samples)] if planar else [planes]
    if tile:
        padded = np.zeros((-(-H // tile) * tile, -(-W // tile) * tile, samples), planes.dtype)
        padded[:H, :W] = planes
        parts = [padded[r : r + tile, c : c + tile] for r in range(0, len(padded), tile) for c in range(0, padded.shape[1], tile)]
    data = [p.tobytes() for p in parts]
    offsets = [8 + sum(map(len, data[:i])) for i in range(len(data))]
    where = {322: [tile], 323: [tile], 324: offsets, 325: list(map(len, data))} if tile else {273: offsets, 278: [H], 279: list(map(len, data))}
    entries = {256: [W], 257: [H], 258: [bits or planes.itemsize * 8] * samples, 259: [1], 262: [photometric], 277: [samples], 284: [2 if planar else 1], **where, **dict(tags)}
    body = b"".join(data) + b"\0" * (sum(map(len, data)) % 2)
    directory = 8 + len(body)
    extra_at, extra, rows = directory + 2 + 12 * len(entries) + 4, b"", b""
    for tag, values in sorted(entries.items()):
        packed = struct.pack(f"{order}{len(values)}I", *values)
        if len(packed) > 4:
            packed, extra = struct.pack(order + "I", extra_at + len(extra)), extra + packed
        rows += struct.pack(order + "HHI", tag, 4, len(values)) + packed
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, directory)
    return head + body + struct.pack(order + "H", len(entries)) + rows + b"\0\0\0\0" + extra


def tiffs():
    rgba, la = np.dstack([RGB, ALPHA]), np.dstack([GREY, ALPHA])
    deep = RGB.astype(np.uint16) * 200 + 77
    yield "planes.tif", tiff(RGB, 2, planar=True)
    yield "tiles.tif", tiff(RGB, 2, tile=16)
    yield "big-endian.tif", tiff(RGB, 2, order=">")
    yield "white is zero.tif", tiff(GREY, 0)
    yield "premultiplied.tif", tiff(rgba, 2, tags={338: [1]})
    yield "unspecified fourth sample.tif", tiff(rgba, 2, tags={338: [0]})
    yield "grey with premultiplied alpha.tif", tiff(la, 1, tags={338: [1]})
    yield "deep rgb.tif", tiff(deep, 2)
    yield "deep rgb big-endian.tif", tiff(deep, 2, order=">")
    yield "deep rgba.tif", tiff(np.dstack([deep, deep[..., 0]]), 2, tags={338: [2]})
    yield "deep premultiplied.tif", tiff(np.dstack([deep, deep[..., 0]]), 2, tags={338: [1]})
    yield "deep cmyk.tif", tiff(np.dstack([deep, deep[..., 0]]), 5)
    yield "deep white is zero.tif", tiff(deep[..., 0], 0)
    yield "unsigned 32 bits.tif", tiff(GREY.astype(np.uint32) * 3, 1)
    yield "signed 16 bits.tif", tiff(GREY.astype(np.uint16), 1, tags={339: [2]})
    yield "signed 8 bits.tif", tiff(GREY, 1, tags={339: [2]})
    colours = [*range(256), *((i * 7) % 256 for i in range(256)), *range(255, -1, -1)]
    yield "palette of 8-bit colours.tif", tiff(GREY, 3, tags={320: colours})
    for orientation in range(2, 9):
        yield f"orientation {orientation}.tif", tiff(RGB, 2, tags={274: [orientation]})


def bmp(bits, rows, palette=b"", compression=0, masks=b"", header=40, height=H, more=b"", colours=0):
    data = b"".join(bytes(row) + b"\0" * (-len(bytes(row)) % 4) for row in rows) if isinstance(rows, list) else rows
    offset = 14 + header + len(masks) + len(palette)
    if header == 12:
        info = struct.pack("<IHHHH", 12, W, height, 1, bits)
    else:
        info = struct.pack("<IiiHHIIiiII", header, W, height, 1, bits, compression, len(data), 2835, 2835, colours, 0) + more
    return struct.pack("<2sIHHI", b"BM", offset + len(data), 0, 0, offset) + info + masks + palette + data


def bmps():
    bgr, index = RGB[..., ::-1], ((x + y) % 16).astype(np.uint8)
    up = lambda rows: [row.tobytes() for row in rows[::-1]]
    colours = b"".join(bytes([i, i * 7 % 256, 255 - i, 0]) for i in range(256))
    colours3 = b"".join(bytes([i, i * 7 % 256, 255 - i]) for i in range(256))
    some = b"".join(bytes([i * 17, i * 40 % 256, 255 - i * 10, 0]) for i in range(16))
    halves = [bytes(r[i] * 16 + (r[i + 1] if i + 1 < W else 0) for i in range(0, W, 2)) for r in index[::-1].tolist()]
    bgra = np.dstack([bgr, ALPHA])
    fields = struct.pack("<III", 0xFF0000, 0xFF00, 0xFF)
    v4 = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000) + b"BGRs" + b"\0" * 48
    yield "4 bits.bmp", bmp(4, halves, some)
    yield "8 bits of 16 colours.bmp", bmp(8, up(index), some, colours=16)
    yield "1 bit.bmp", bmp(1, up(np.packbits(GREY > 100, axis=1)), bytes([10, 20, 30, 0, 200, 210, 220, 0]), colours=2)
    yield "top down.bmp", bmp(24, [row.tobytes() for row in bgr], height=-H)
    yield "os2.bmp", bmp(24, up(bgr), header=12)
    yield "os2 palette.bmp", bmp(8, up(GREY), colours3, header=12)
    yield "32 bits.bmp", bmp(32, up(bgra))
    yield "bit fields.bmp", bmp(32, up(bgra), compression=3, masks=fields)
    yield "alpha.bmp", bmp(32, up(bgra), compression=3, header=108, more=v4)
    yield "other bit fields.bmp", bmp(32, up(np.dstack([RGB, ALPHA])), compression=3, masks=struct.pack("<III", 0xFF, 0xFF00, 0xFF0000))
    five = (RGB.astype("<u2") >> 3) @ np.array([1024, 32, 1], "<u2")
    yield "555.bmp", bmp(16, up(five.astype("<u2")))
    runs = b"".join(b"".join(bytes([1, v]) for v in row) + b"\0\0" for row in GREY[::-1].tolist()) + b"\0\1"
    yield "run-length.bmp", bmp(8, runs, colours, compression=1)


def others():
    yield "values to 100.ppm", b"P6\n# by hand\n3 5 100\n" + bytes(range(45))
    yield "comments.ppm", b"P6 # one\n#two\n 5\t4\n255\n" + NOISE[:4, :5].tobytes()
    yield "text.ppm", b"P3\n4 4 255\n" + b" ".join(str(v).encode() for v in NOISE[:4, :4].ravel())
    yield "cut.ppm", b"P6 5 4 255\n" + b"\0" * 59
    yield "cut.bmp", bmp(24, [row.tobytes() for row in RGB])[:300]
    yield "cut.gif", saved(Image.fromarray(NOISE), "GIF")[:400]
    yield "drawing.svg", b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'


def main(out):
    warnings.simplefilter("ignore")
    rows = []
    for make in (common, gifs, tiffs, bmps, others):
        for name, file in make():
            row = {"name": name, "file": base64.b64encode(file).decode(), "mode": None, "size": None, "md5": None}
            try:
                image = Image.open(io.BytesIO(file))
                row["mode"] = image.mode
                rgb = image.convert("RGB")
                row |= {"size": list(rgb.size), "md5": hashlib.md5(np.asarray(rgb).tobytes()).hexdigest()}
            except (OSError, ValueError, SyntaxError):
                pass
            rows.append(json.dumps(row))
    (out / "image_files.json").write_text("[\n" + ",\n".join(rows) + "\n]\n")


if __name__ == "__main__":
    main(pathlib.Path(__file__).parent)
