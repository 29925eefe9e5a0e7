"""Patterns of the sprites with a face: ghost, cat, fish, robot and heart."""

from __future__ import annotations

from core.data.sprite_figure import Figure, Part

# fmt: off
CHARACTERS: dict[str, Figure] = {
    "ghost": Figure(
        (
            Part("""
                ....aaaa.... ....aaaa.... .....aaa.... ....aaaa.... ...aaaaaa...
                ..aaaaaaaa.. ...aaaaaa... ...aaaaaa... ..aaaaaaaa.. ..aaaaaaaa..
                .aaaaaaaaaa. ..aaaaaaaa.. ..aaaaaaaa.. ..aaaaaaaa.. .aaaaaaaaaa.
                .aaaaaaaaaa. ..aaaaaaaa.. ..aaaaaaaa.. a.aaaaaaaa.a .aaaaaaaaaa.
                .aaaaaaaaaa. ..aaaaaaaa.. ..aaaaaaaa.. aaaaaaaaaaaa .aaaaaaaaaa.
                .aaaaaaaaaa. a.aaaaaaaa.a ..aaaaaaaaaa aaaaaaaaaaaa aaaaaaaaaaaa
                .aaaaaaaaaa. aaaaaaaaaaaa aaaaaaaaaaaa .aaaaaaaaaa. aaaaaaaaaaaa
                .aaaaaaaaaa. aaaaaaaaaaaa aaaaaaaaaaa. .aaaaaaaaaa. .aaaaaaaaaa.
                """),
            Part("""
                .aaaaaaaaaa. .aaaaaaaaaa. .aaaaaaaaaa. .aaaaaaaaaa. .aaaaaaaaaa.
                .aaaaaaaaaa. .aaaaaaaaaa. .aaaaaaaaaa. .aaaaaaaaaa. ..aaaaaaaa..
                .aaa.aa.aaa. .aa.aaaa.aa. .aaaaaaaaaa. .aaaaaaaaaa. ...aaaaaaa..
                ..a..aa..a.. .a...aa...a. .a.aa..aa.a. .aa..aa..aa. .....aaaaaa.
                """, top=8),
            Part("""
                ............ ...x....x... ...wx..wx... ............ ............ ..xx....xx.. ...xx..xx...
                ...xx..xx... ...x....x... ...xx..xx... ...x....x... ..x......x.. ..wx....wx.. ...xx..xx...
                ...xx..xx... ...x....x... ...xx..xx... ..x.x..x.x.. ...xx..xx... ..xx....xx.. ...xx..xx...
                """, top=3, on="a"),
            Part("""
                ..pp....pp..
                """, top=6, on="a", none=1),
            Part("""
                .....xx..... .....xx..... ....x..x.... .....xx..... ....xxxx....
                ............ .....xx..... .....xx..... ....x..x.... .....pp.....
                """, top=7, on="a", none=1),
            Part("""
                bb.bb .b...
                bb2bb bbbbb
                bb.bb .....
                """, top=0, left=6, none=4),
        ),
        ("white ice mint lavender pink lemon cyan", "red purple gold teal"),
        rows=((), (7,), (2,), (7, 9)), columns=((), (), (1, 10)),
    ),
    "cat": Figure(
        (
            Part("""
                ..... ....a .aa.. .aaa. ..aa.
                ....a ....a ..aa. aa.aa ...aa
                ....a ...aa ...a. ....a ....a
                .aaaa .aaa. .aaa. aaaaa aaaaa
                """, top=8, left=7, none=1),
            Part("""
                ...aaaaaa... ..aaaaaaaa.. ...aaaaaa... ............
                ..aaaaaaaa.. ..aaaaaaaa.. ...aaaaaa... .aaaaaaaaaa.
                ..aaaaaaaa.. ..aaaaaaaa.. ...aaaaaa... .aaaaaaaaaa.
                ..aaaaaaaa.. .aaaaaaaaaa. ..aaaaaaaa.. .aaaaaaaaaa.
                """, top=8),
            Part("""
                .a........a. ............ a..........a .aa......aa. ............
                .aa......aa. .aa......aa. aa........aa .apa....apa. aa........aa
                .apaaaaaapa. .apaaaaaapa. apaaaaaaaapa .aaaaaaaaaa. apaaaaaaaapa
                aaaaaaaaaaaa .aaaaaaaaaa. aaaaaaaaaaaa .aaaaaaaaaa. aaaaaaaaaaaa
                aaaaaaaaaaaa aaaaaaaaaaaa aaaaaaaaaaaa aaaaaaaaaaaa aaaaaaaaaaaa
                aaaaaaaaaaaa aaaaaaaaaaaa aaaaaaaaaaaa aaaaaaaaaaaa aaaaaaaaaaaa
                .aaaaaaaaaa. aaaaaaaaaaaa .aaaaaaaaaa. .aaaaaaaaaa. aaaaaaaaaaaa
                ..aaaaaaaa.. .aaaaaaaaaa. ..aaaaaaaa.. ...aaaaaa... .aaaaaaaaaa.
                """),
            Part("""
                .....bb..... ............ .......bbbbb ............ ............
                ...b.bb.b... ............ .......bbbbb ............ .....bb.....
                ............ ............ ......bbbbbb ............ .....bb.....
                b..........b ............ ......bbbbbb ............ ............
                ............ ....bbbb.... ............ ............ ............
                b..........b ...bbbbbb... ............ ....bbbb.... ............
                ............ ............ ............ ............ ............
                ..b......b.. .....bb..... ..bbb....... ............ ............
                ............ .....bb..... ..bbb....... ............ ............
                ..b......b.. ...bb..bb... ............ ............ ..bbb..bbb..
                """, top=2, on="a", none=1),
            Part("""
                ............ ............ ............ ............ ............
                ..wx....wx.. ..xc....cx.. ............ ...x....x... ...x....x...
                ..xx....xx.. ..xc....cx.. ..xxx..xxx.. ..x.x..x.x.. ...x....x...
                """, top=3, on="ab"),
            Part("""
                .....pp..... .....pp..... .....xx.....
                ............ .....xx..... ............
                """, top=6, on="ab"),
        ),
        ("orange gold coal slate white cream brown silver peach lavender", "white cream umber coal orange",
         "lime lemon cyan gold"),
        rows=((), (), (10,)), columns=((), (), (4, 7)),
    ),
    "fish": Figure(
        (
            Part("""
                ............ ............ ............ ............
                ..........bb ...........b .........bb. ............
                .........bbb ..........bb .........bbb ..........bb
                .........bb. .........bbb .........bb. .........bbb
                ........bb.. .......bbbb. ........bb.. ........bbbb
                ........bb.. .......bbbb. ........bb.. ........bbbb
                .........bb. .........bbb .........bb. .........bbb
                .........bbb ..........bb .........bbb ..........bb
                ..........bb ...........b .........bb. ............
                """, top=1),
            Part("""
                ............ ....bbbb.... .....bb..... ...b.b.b....
                .....bbb.... ...bbbbbb... ....bbbb.... ...bbbbbb...
                ....bbbb.... ...bbbbbb... ....bbbb.... ...bbbbbb...
                """, top=1),
            Part("""
                ....bbb..... .....bb..... ...bb..bb...
                ....bb...... ....bbb..... ....b...b...
                .....b...... ............ ............
                """, top=8, none=1),
            Part("""
                ...aaaa..... ............ ....aaaa.... ............
                ..aaaaaa.... ..aaaaaa.... ..aaaaaaa... ...aaaaa....
                .aaaaaaaa... .aaaaaaaa... .aaaaaaaa... .aaaaaaaaa..
                aaaaaaaaa... aaaaaaaaaa.. aaaaaaaaa... aaaaaaaaaa..
                aaaaaaaaa... aaaaaaaaaa.. aaaaaaaaa... aaaaaaaaaa..
                .aaaaaaaa... .aaaaaaaa... aaaaaaaaa... .aaaaaaaaa..
                ..aaaaaa.... ..aaaaaa.... .aaaaaaa.... ...aaaaa....
                ...aaaa..... ............ ..aaaaa..... ............
                """, top=2),
            Part("""
                ....c..c.... .....c...... ............ ............ ............
                ....c..c.... .....cc..... ............ ....c..c..c. ............
                ....c..c.... ....cc.c.... ............ ...c..c..c.. ............
                ....c..c.... ....cc..c... ............ ....c..c.... .....c.c.c..
                ....c..c.... ....cc..c... cccccccccc.. .....c..c... ......c.c...
                ....c..c.... ....cc.c.... cccccccccc.. ....c..c.... .....c.c....
                ....c..c.... .....cc..... cccccccccc.. ............ ............
                ....c..c.... .....c...... cccccccccc.. ............ ............
                """, top=2, on="a", none=1),
            Part("""
                .ww. .... .ww. ..x.
                .xw. .xx. .wx. ..x.
                .... .xx. .... ....
                x... .... .... x...
                """, top=4, left=0, on="ac"),
        ),
        ("orange gold red sky blue teal green purple pink cyan silver", "orange gold red blue indigo magenta lime rose",
         "white cream lemon coal indigo"),
        rows=((), (5,), (6,)), columns=((), (6,), (7,)),
    ),
    "robot": Figure(
        (
            Part("""
                .cc......cc. cc........cc ............ .cc......cc. .cc......cc.
                .cc......cc. .cc......cc. .cc......cc. .c........c. ..c......cc.
                ............ .cc......cc. cc........cc cc........cc ............
                ............ ............ cc........cc ............ ............
                """, top=7),
            Part("""
                ...cc..cc... ....cccc.... ...cc..cc... ..cccccccc..
                ..ccc..ccc.. ...cccccc... ...cc..cc... ..1c1cc1c1..
                """, top=10),
            Part("""
                ...aaaaaa... ..aaaaaaaa.. ...aaaaaa...
                ...aaaaaa... ..aaaaaaaa.. ..aaaaaaaa..
                ...aaaaaa... ...aaaaaa... ..aaaaaaaa..
                """, top=7),
            Part("""
                .....b...... .....bb..... ...b....b... .......b....
                .....c...... ............ ...c....c... ......c.....
                """, none=1),
            Part("""
                ............ ............ ...aaaaaa... ............ ............
                ..aaaaaaaa.. ............ ..aaaaaaaa.. ..aaaaaaaa.. .aaaaaaaaaa.
                .aaaaaaaaaa. ..aaaaaaaa.. ..aaaaaaaa.. ..aaaaaaaa.. .aaaaaaaaaa.
                .aaaaaaaaaa. ..aaaaaaaa.. ..aaaaaaaa.. caaaaaaaaaac .aaaaaaaaaa.
                .aaaaaaaaaa. ..aaaaaaaa.. ..aaaaaaaa.. caaaaaaaaaac .aaaaaaaaaa.
                .aaaaaaaaaa. ..aaaaaaaa.. ..aaaaaaaa.. ..aaaaaaaa.. ..aaaaaaaa..
                """, top=1),
            Part("""
                ...... xxxxxx ...... .xxxx. xxxxxx ...... ......
                xdxxdx xdxxdx dd..dd .xDdx. xddddx xx..xx dx..xd
                xdxxdx xxxxxx xd..xd .xddx. xxxxxx xd..xd dd..dd
                ...... ...... ...... .xxxx. ...... ...... ..11..
                """, top=3, left=3, on="a"),
            Part("""
                ...... .bb... ...... ......
                .b..b. .b2... .1111. .bBb..
                ...... ....d. ...... ......
                """, top=7, left=3, on="a", none=1),
        ),
        ("silver white steel sky teal orange gold mint red lavender", "red gold lime cyan orange magenta",
         "slate steel silver", "cyan lime lemon white orange"),
        columns=((), (), (4, 7)), rows=((), (9,), (10,)),
    ),
    "heart": Figure(
        (
            Part("""
                ............ ............ ............ ............ ............ ............
                ..aaa..aaa.. ............ ............ .aaa....aaa. ............ ............
                .aaaaaaaaaa. ..aaa..aaa.. .aaa....aaa. aaaaa..aaaaa ..aaa..aaa.. ..aaa..aaa..
                aaaaaaaaaaaa .aaaaaaaaaa. aaaaa..aaaaa aaaaaaaaaaaa .aaaaaaaaaa. .aaaaaaaaaa.
                aaaaaaaaaaaa .aaaaaaaaaa. aaaaaaaaaaaa aaaaaaaaaaaa .aaaaaaaaaa. aaaaaaaaaaaa
                aaaaaaaaaaaa .aaaaaaaaaa. aaaaaaaaaaaa aaaaaaaaaaaa .aaaaaaaaaa. aaaaaaaaaaaa
                aaaaaaaaaaaa .aaaaaaaaaa. aaaaaaaaaaaa aaaaaaaaaaaa .aaaaaaaaaa. aaaaaaaaaaaa
                .aaaaaaaaaa. ..aaaaaaaa.. .aaaaaaaaaa. .aaaaaaaaaa. .aaaaaaaaaa. .aaaaaaaaaa.
                ..aaaaaaaa.. ...aaaaaa... ..aaaaaaaa.. ..aaaaaaaa.. ..aaaaaaaa.. .aaaaaaaaaa.
                ...aaaaaa... ....aaaa.... ...aaaaaa... ...aaaaaa... ...aaaaaa... ..aaaaaaaa..
                ....aaaa.... .....aa..... ....aaaa.... ....aaaa.... ....aaaa.... ...aaaaaa...
                .....aa..... ............ ............ .....aa..... .....aa..... .....aa.....
                """),
            Part("""
                ............ .....k...... ............ ............ ............ ............ ............
                ............ ......k..... ............ ............ .......bb... ............ ..........b.
                bbbbbbbbbbbb .....kk..... ............ .........bb. .......bb... .bb......... .........bbb
                bbbbbbbbbbbb ....k....... bb..bb..bb.. ........bbb. ..bb........ .bbb........ ..........b.
                ............ .....k...... ..bb..bb..bb .......bbb.. ..bb....bb.. ..bbb....... ..b.........
                ............ ......k..... ............ ......bbb... ........bb.. ...bbb...... .bbb...b....
                ............ .....k...... ............ .....bbb.... .....bb..... ....bbb..... ..b...bbb...
                ............ ............ ............ ....bbb..... .....bb..... .....bbb.... .......b....
                """, top=3, on="a", none=3),
            Part("""
                ...x....x... ............ ............ ............ ...x........
                ...x....x... ...xx..xx... ...x....x... ...x....x... ...x...xx...
                ............ ............ ..x.x..x.x.. ............ ............
                """, top=4, on="ab", none=5),
            Part("""
                .....xx..... ............ ....x..x.... .....pp.....
                ............ .....xx..... .....xx..... .....pp.....
                """, top=7, on="ab", none=5),
            Part("""
                .ww. .ww. .AA.
                ww.. w... AA..
                w... .... A...
                """, top=3, left=1, on="a"),
        ),
        ("red red rose pink purple blue teal gold green orange magenta", "peach pink white lemon"),
        rows=((), (6,)), columns=((), (), (2, 9)), mirrored=False,
    ),
}
# fmt: on
