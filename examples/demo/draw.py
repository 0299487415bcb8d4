"""Draws the sample pictures: 32x32 PNGs, drawn large with shapes and noise, then reduced.

The pictures are free drawings. No network is consulted, so nothing here is fitted to one.

    python draw.py
"""

import pathlib

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

SIDE = 512
SEED = 7


def gradient(top, bottom, first=0, last=SIDE):
    """A full-size picture that fades from `top` to `bottom` between two rows."""
    share = np.clip((np.arange(SIDE) - first) / (last - first), 0, 1)[:, None, None]
    rows = np.array(top) * (1 - share) + np.array(bottom) * share
    return np.broadcast_to(rows, (SIDE, SIDE, 3)).copy()


def cloudiness(random, across, down):
    """Smooth noise in -1...1, with `across` x `down` grains over the picture."""
    grains = Image.fromarray(random.uniform(-1, 1, (down, across)).astype(np.float32))
    return np.asarray(grains.resize((SIDE, SIDE), Image.Resampling.BICUBIC))[:, :, None]


def picture(pixels):
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def shadow(image, box, strength):
    """Darkens an ellipse softly."""
    mask = Image.new("L", (SIDE, SIDE), 0)
    ImageDraw.Draw(mask).ellipse(box, fill=strength)
    image.paste((20, 20, 22), mask=mask.filter(ImageFilter.GaussianBlur(10)))


def wheel(draw, x, y, radius):
    for share, colour in ((1.0, (22, 22, 24)), (0.58, (150, 152, 156)), (0.25, (60, 62, 66))):
        reach = radius * share
        draw.ellipse((x - reach, y - reach, x + reach, y + reach), fill=colour)


def ship(random):
    """A freighter with a white bridge on open sea."""
    sky = gradient((120, 165, 210), (205, 222, 235), 0, 300) + 10 * cloudiness(random, 5, 6)
    sea = gradient((58, 100, 138), (22, 55, 92), 310, SIDE) + 16 * cloudiness(random, 14, 70)
    sky[310:] = sea[310:]
    image = picture(sky)
    draw = ImageDraw.Draw(image)
    draw.polygon([(30, 262), (62, 368), (428, 368), (486, 246), (440, 262)], fill=(38, 42, 58))
    draw.polygon([(54, 342), (62, 368), (428, 368), (440, 342)], fill=(140, 42, 36))
    draw.line([(30, 262), (440, 262), (486, 246)], fill=(225, 225, 225), width=7)
    draw.rectangle((82, 190, 190, 260), fill=(240, 240, 236))
    draw.rectangle((96, 146, 172, 192), fill=(228, 230, 230))
    draw.rectangle((100, 158, 168, 172), fill=(45, 60, 80))
    for x in range(92, 184, 22):
        draw.rectangle((x, 208, x + 10, 220), fill=(60, 75, 95))
    draw.polygon([(112, 146), (118, 98), (152, 98), (156, 146)], fill=(196, 70, 44))
    draw.rectangle((116, 98, 153, 112), fill=(30, 30, 34))
    for x, colour in ((214, (186, 92, 48)), (268, (72, 112, 92)), (322, (164, 150, 120))):
        draw.rectangle((x, 218, x + 48, 260), fill=colour)
    for x, top in ((256, 110), (384, 130)):
        draw.line([(x, 260), (x, top)], fill=(235, 225, 205), width=8)
        draw.line([(x, top + 14), (x + 52, 214)], fill=(215, 205, 190), width=4)
        draw.line([(x, top + 14), (x - 46, 210)], fill=(215, 205, 190), width=4)
    for _ in range(60):
        x, y = random.uniform(30, 470), random.uniform(362, 384)
        draw.ellipse((x - 12, y - 3, x + 12, y + 3), fill=(190, 208, 220))
    return image


def airplane(random):
    """An airliner in the blue sky, seen from the side."""
    sky = gradient((62, 120, 192), (158, 198, 234)) + 14 * np.clip(cloudiness(random, 4, 7), 0, 1)
    image = picture(sky)
    draw = ImageDraw.Draw(image)
    draw.polygon([(250, 240), (352, 130), (384, 130), (330, 244)], fill=(168, 176, 188))
    draw.polygon([(62, 232), (40, 132), (82, 132), (140, 222)], fill=(44, 70, 130))
    draw.polygon([(66, 246), (28, 206), (52, 204), (124, 240)], fill=(176, 182, 192))
    draw.ellipse((40, 214, 300, 290), fill=(236, 238, 240))
    draw.ellipse((250, 212, 484, 290), fill=(236, 238, 240))
    draw.rectangle((170, 214, 372, 290), fill=(236, 238, 240))
    draw.chord((40, 214, 484, 290), 8, 172, fill=(176, 184, 196))
    for x in range(150, 420, 18):
        draw.rectangle((x, 236, x + 8, 246), fill=(50, 60, 82))
    draw.polygon([(446, 234), (470, 240), (462, 248), (442, 246)], fill=(32, 38, 52))
    draw.polygon([(220, 268), (318, 268), (212, 392), (166, 398)], fill=(150, 158, 172))
    draw.polygon([(220, 268), (240, 268), (180, 396), (166, 398)], fill=(110, 120, 136))
    draw.ellipse((236, 296, 306, 330), fill=(92, 98, 112))
    draw.ellipse((288, 298, 312, 328), fill=(40, 44, 54))
    return image


def truck(random):
    """A box lorry on a road."""
    land = gradient((176, 204, 226), (226, 232, 234), 0, 250)
    land[250:] = gradient((104, 128, 82), (88, 104, 66), 250, 340)[250:]
    land[350:] = gradient((112, 112, 114), (78, 78, 82), 350, SIDE)[350:]
    image = picture(land + 10 * cloudiness(random, 20, 24))
    shadow(image, (24, 402, 496, 452), 190)
    draw = ImageDraw.Draw(image)
    draw.rectangle((26, 116, 338, 366), fill=(232, 232, 228))
    draw.rectangle((26, 116, 338, 130), fill=(196, 196, 192))
    for x in range(66, 338, 40):
        draw.line([(x, 130), (x, 366)], fill=(212, 212, 208), width=4)
    draw.rectangle((26, 236, 338, 276), fill=(44, 84, 150))
    draw.rectangle((26, 366, 480, 394), fill=(46, 46, 50))
    draw.polygon([(350, 392), (350, 176), (440, 176), (474, 264), (486, 276), (486, 392)], fill=(186, 40, 34))
    draw.polygon([(376, 200), (430, 200), (456, 264), (376, 264)], fill=(62, 84, 104))
    draw.line([(366, 188), (366, 388)], fill=(140, 26, 24), width=4)
    draw.rectangle((466, 318, 488, 344), fill=(244, 232, 176))
    draw.rectangle((440, 368, 494, 394), fill=(70, 70, 74))
    for x in (92, 168, 424):
        wheel(draw, x, 402, 40)
    return image


def automobile(random):
    """A red saloon car, seen from the side."""
    land = gradient((170, 198, 222), (222, 226, 226), 0, 220)
    land[220:] = gradient((120, 134, 104), (100, 112, 84), 220, 320)[220:]
    land[320:] = gradient((134, 134, 136), (96, 96, 100), 320, SIDE)[320:]
    image = picture(land + 9 * cloudiness(random, 20, 24))
    shadow(image, (24, 372, 492, 426), 200)
    draw = ImageDraw.Draw(image)
    body = [(22, 300), (34, 262), (118, 246), (182, 176), (330, 172), (400, 238), (476, 258), (492, 306), (488, 366), (24, 366)]
    draw.polygon(body, fill=(196, 30, 30))
    draw.polygon([(24, 328), (490, 328), (488, 372), (26, 372)], fill=(138, 18, 20))
    draw.line([(40, 268), (118, 252), (400, 246), (470, 262)], fill=(232, 110, 100), width=7)
    draw.polygon([(144, 244), (194, 190), (248, 188), (248, 242)], fill=(40, 52, 66))
    draw.polygon([(264, 242), (264, 188), (322, 186), (372, 238)], fill=(48, 62, 78))
    draw.line([(256, 180), (258, 358)], fill=(120, 16, 18), width=5)
    draw.rectangle((206, 276, 232, 284), fill=(90, 12, 14))
    draw.ellipse((462, 270, 490, 300), fill=(250, 240, 200))
    draw.rectangle((22, 286, 38, 310), fill=(250, 120, 60))
    for x in (118, 396):
        draw.ellipse((x - 58, 308, x + 58, 424), fill=(34, 12, 12))
        wheel(draw, x, 370, 48)
    return image


def frog(random):
    """A green frog on brown ground."""
    image = picture(gradient((134, 112, 82), (98, 78, 54)) + 26 * cloudiness(random, 26, 26) + 18 * cloudiness(random, 7, 7))
    shadow(image, (60, 340, 470, 460), 170)
    draw = ImageDraw.Draw(image)
    dark, skin, light = (58, 84, 30), (94, 130, 46), (150, 174, 84)
    draw.ellipse((44, 250, 210, 420), fill=dark)
    draw.polygon([(70, 396), (30, 444), (150, 446), (170, 400)], fill=dark)
    draw.polygon([(60, 330), (150, 200), (300, 128), (420, 150), (452, 226), (420, 330), (300, 410), (130, 416)], fill=skin)
    draw.ellipse((70, 210, 330, 420), fill=skin)
    draw.ellipse((286, 130, 470, 300), fill=skin)
    draw.polygon([(300, 330), (430, 262), (424, 330), (330, 406)], fill=light)
    draw.ellipse((84, 270, 200, 412), fill=(80, 112, 40))
    draw.line([(356, 330), (392, 400), (372, 452)], fill=dark, width=34)
    draw.line([(372, 452), (430, 460)], fill=dark, width=20)
    draw.line([(262, 380), (280, 440), (330, 462)], fill=dark, width=28)
    draw.line([(350, 262), (464, 236)], fill=(44, 60, 24), width=7)
    for x, y in ((318, 126), (412, 128)):
        draw.ellipse((x - 34, y - 30, x + 34, y + 38), fill=skin)
        draw.ellipse((x - 23, y - 20, x + 23, y + 26), fill=(204, 170, 60))
        draw.ellipse((x - 14, y - 12, x + 14, y + 18), fill=(16, 16, 12))
    for _ in range(26):
        x, y, reach = random.uniform(100, 330), random.uniform(190, 350), random.uniform(8, 17)
        draw.ellipse((x - reach, y - reach, x + reach, y + reach), fill=(54, 82, 30))
    return image.filter(ImageFilter.GaussianBlur(3))


def main():
    folder = pathlib.Path(__file__).parent
    for paint in (ship, airplane, truck, automobile, frog):
        image = paint(np.random.default_rng(SEED)).resize((32, 32), Image.Resampling.LANCZOS)
        image.save(folder / f"{paint.__name__}.png", optimize=True)


if __name__ == "__main__":
    main()
