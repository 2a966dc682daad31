"""The published examples of BOLT11 (part 11 of the Lightning specification), letter for letter."""

from dataclasses import dataclass

import pytest

from gateways import bolt11
from gateways.bolt11 import Network, NotABolt11

HASH = "0001020304050607080900010203040506070809000102030405060708090102"
SECRET = "11" * 32
PAYEE = "03e7156ae33b0a208d0744199163177e909e80176e55d97a2f221ede0f934dd9ad"
CAKE = "3925b6f67e2c340036ed12093dd44e0368df1b6ea26c53dbe4811f58fd5db8c1"

_S = "sp5zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zygs"
_P = "pp5qqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqypq"
_H = "hp58yjmdan79s6qqdhdzgynm4zwqd5d7xmw5fk98klysy043l2ahrqs"
_DONATION = "dpl2pkx2ctnv5sxxmmwwd5kgetjypeh2ursdae8g6twvus8g6rfwvs8qun0dfjkxaq"
_BEANS = "dq5vdhkven9v5sxyetpdees"


@dataclass(frozen=True, kw_only=True)
class Example:
    text: str
    network: Network = Network.BITCOIN
    amount: int | None
    description: str | None = None
    description_hash: str | None = None
    lifetime: int = 3600
    features: frozenset[int] = frozenset({8, 14})
    min_final_cltv_expiry: int = 18
    payment_hash: str = HASH
    created_at: int = 1496314658


@dataclass(frozen=True, kw_only=True)
class Invalid:
    text: str
    sentence: str


VALID = {
    "a donation of any amount": Example(
        text=f"lnbc1pvjluez{_S}{_P}{_DONATION}9qrsgq357wnc5r2ueh7ck6q93dj32dlqnls087fxdwk8qakdyafkq3yap9us6v52v"
        "jjsrvywa6rt52cm9r9zqt8r2t7mlcwspyetp5h2tztugp9lfyql",
        amount=None,
        description="Please consider supporting this project",
    ),
    "a cup of coffee within one minute": Example(
        text=f"lnbc2500u1pvjluez{_S}{_P}dq5xysxxatsyp3k7enxv4jsxqzpu9qrsgquk0rl77nj30yxdy8j9vdx85fkpmdla2087ne0xh"
        "8nhedh8w27kyke0lp53ut353s06fv3qfegext0eh0ymjpf39tuven09sam30g4vgpfna3rh",
        amount=250_000_000,
        description="1 cup coffee",
        lifetime=60,
    ),
    "a cup of nonsense, in Japanese": Example(
        text=f"lnbc2500u1pvjluez{_S}{_P}dpquwpc4curk03c9wlrswe78q4eyqc7d8d0xqzpu9qrsgqhtjpauu9ur7fw2thcl4y9vfvh4m"
        "9wlfyz2gem29g5ghe2aak2pm3ps8fdhtceqsaagty2vph7utlgj48u0ged6a337aewvraedendscp573dxr",
        amount=250_000_000,
        description="ナンセンス 1杯",
        lifetime=60,
    ),
    "a list of things, hashed": Example(
        text=f"lnbc20m1pvjluez{_S}{_P}{_H}9qrsgq7ea976txfraylvgzuxs8kgcw23ezlrszfnh8r6qtfpr6cxga50aj6txm9rxrydzd0"
        "6dfeawfk6swupvz4erwnyutnjq7x39ymw6j38gp7ynn44",
        amount=2_000_000_000,
        description_hash=CAKE,
    ),
    "on testnet, with a fallback address": Example(
        text=f"lntb20m1pvjluez{_S}{_H}{_P}fpp3x9et2e20v6pu37c5d9vax37wxq72un989qrsgqdj545axuxtnfemtpwkc45hx9d2ft7"
        "x04mt8q7y6t0k2dge9e7h8kpy9p34ytyslj3yu569aalz2xdk8xkd7ltxqld94u8h2esmsmacgpghe9k8",
        network=Network.TESTNET,
        amount=2_000_000_000,
        description_hash=CAKE,
    ),
    "with two hops of routing information": Example(
        text=f"lnbc20m1pvjluez{_S}{_P}{_H}fpp3qjmp7lwpagxun9pygexvgpjdc4jdj85fr9yq20q82gphp2nflc7jtzrcazrra7wwgzx"
        "qc8u7754cdlpfrmccae92qgzqvzq2ps8pqqqqqqpqqqqq9qqqvpeuqafqxu92d8lr6fvg0r5gv0heeeqgcrqlnm6jhphu9y00rrhy4gr"
        "qszsvpcgpy9qqqqqqgqqqqq7qqzq9qrsgqdfjcdk6w3ak5pca9hwfwfh63zrrz06wwfya0ydlzpgzxkn5xagsqz7x9j4jwe7yj7vaf2k"
        "9lqsdk45kts2fd0fkr28am0u4w95tt2nsq76cqw0",
        amount=2_000_000_000,
        description_hash=CAKE,
    ),
    "with a taproot fallback address": Example(
        text=f"lnbc20m1pvjluez{_S}{_P}{_H}fp4pptdvg0d2nj99568qn6ssdy4cygnwuxgw2ukmnwgwz7jpqjz2kszs9qrsgqy606dznq2"
        "8exnydt2r4c29y56xjtn3sk4mhgjtl4pg2y4ar3249rq4ajlmj9jy8zvlzw7cr8mggqzm842xfr0v72rswzq9xvr4hknfsqwmn6xd",
        amount=2_000_000_000,
        description_hash=CAKE,
    ),
    "an amount in pico-bitcoin, within one week": Example(
        text="lnbc9678785340p1pwmna7lpp5gc3xfm08u9qy06djf8dfflhugl6p7lgza6dsjxq454gxhj9t7a0sd8dgfkx7cmtwd68yetpd5"
        "s9xar0wfjn5gpc8qhrsdfq24f5ggrxdaezqsnvda3kkum5wfjkzmfqf3jkgem9wgsyuctwdus9xgrcyqcjcgpzgfskx6eqf9hzqnteyp"
        "zxz7fzypfhg6trddjhygrcyqezcgpzfysywmm5ypxxjemgw3hxjmn8yptk7untd9hxwg3q2d6xjcmtv4ezq7pqxgsxzmnyyqcjqmt0wf"
        f"jjq6t5v4khx{_S}xqyjw5qcqp2rzjq0gxwkzc8w6323m55m4jyxcjwmy7stt9hwkwe2qxmy8zpsgg7jcuwz87fcqqeuqqqyqqqqlgqqq"
        "qn3qq9q9qrsgqrvgkpnmps664wgkp43l22qsgdw4ve24aca4nymnxddlnp8vh9v2sdxlu5ywdxefsfvm0fq3sesf08uf6q9a2ke0hc9j6"
        "z6wlxg5z5kqpu2v9wz",
        amount=967_878_534,
        description=(
            'Blockstream Store: 88.85 USD for Blockstream Ledger Nano S x 1, "Back In My Day" '
            'Sticker x 2, "I Got Lightning Working" Sticker x 2 and 1 more items'
        ),
        lifetime=604_800,
        min_final_cltv_expiry=10,
        payment_hash="462264ede7e14047e9b249da94fefc47f41f7d02ee9b091815a5506bc8abf75f",
        created_at=1572468703,
    ),
    "with an unknown odd feature": Example(
        text=f"lnbc25m1pvjluez{_P}{_BEANS}{_S}9q5sqqqqqqqqqqqqqqqqsgq2a25dxl5hrntdtn6zvydt7d66hyzsyhqs4wdynavys42"
        "xgl6sgx9c4g7me86a27t07mdtfry458rtjr0v92cnmswpsjscgt2vcse3sgpz3uapa",
        amount=2_500_000_000,
        description="coffee beans",
        features=frozenset({8, 14, 99}),
    ),
    "all upper case": Example(
        text=(
            f"lnbc25m1pvjluez{_P}{_BEANS}{_S}9q5sqqqqqqqqqqqqqqqqsgq2a25dxl5hrntdtn6zvydt7d66hyzsyhqs4wdynavys42"
            "xgl6sgx9c4g7me86a27t07mdtfry458rtjr0v92cnmswpsjscgt2vcse3sgpz3uapa"
        ).upper(),
        amount=2_500_000_000,
        description="coffee beans",
        features=frozenset({8, 14, 99}),
    ),
    "with payment metadata": Example(
        text=f"lnbc10m1pvjluez{_P}dp9wpshjmt9de6zqmt9w3skgct5vysxjmnnd9jx2mq8q8a04uq{_S}9q2gqqqqqqsgq7hf8he7ecf7n"
        "4ffphs6awl9t6676rrclv9ckg3d3ncn7fct63p6s365duk5wrk202cfy3aj5xnnp5gs3vrdvruverwwq7yzhkf5a3xqpd05wjc",
        amount=1_000_000_000,
        description="payment metadata inside",
        features=frozenset({8, 14, 48}),
    ),
}

INVALID = {
    "an unknown even feature": Invalid(
        text=f"lnbc25m1pvjluez{_P}{_BEANS}{_S}9q4psqqqqqqqqqqqqqqqqsgqtqyx5vggfcsll4wu246hz02kp85x4katwsk9639we5n5yngc"
        "3yhqkm35jnjw4len8vrnqnf5ejh0mzj9n3vz2px97evektfm2l6wqccp3y7372",
        sentence="feature",
    ),
    "a wrong checksum": Invalid(
        text=f"lnbc2500u1pvjluez{_P}dpquwpc4curk03c9wlrswe78q4eyqc7d8d0xqzpuyk0sg5g70me25alkluzd2x62aysf2pyy8edtjeevuv"
        "4p2d5p76r4zkmneet7uvyakky2zr4cusd45tftc9c5fh0nnqpnl2jfll544esqchsrnt",
        sentence="checksum",
    ),
    "no prefix": Invalid(
        text=f"pvjluez{_P}dpquwpc4curk03c9wlrswe78q4eyqc7d8d0xqzpuyk0sg5g70me25alkluzd2x62aysf2pyy8edtjeevuv4p2d5p76r4"
        "zkmneet7uvyakky2zr4cusd45tftc9c5fh0nnqpnl2jfll544esqchsrny",
        sentence="not a Lightning invoice",
    ),
    "mixed case": Invalid(
        text=f"LNBC2500u1pvjluez{_P}dpquwpc4curk03c9wlrswe78q4eyqc7d8d0xqzpuyk0sg5g70me25alkluzd2x62aysf2pyy8edtjeevuv"
        "4p2d5p76r4zkmneet7uvyakky2zr4cusd45tftc9c5fh0nnqpnl2jfll544esqchsrny",
        sentence="all lower case or all upper case",
    ),
    "a signature that no key can have made": Invalid(
        text=f"lnbc2500u1pvjluez{_P}dq5xysxxatsyp3k7enxv4jsxqzpu{_S}9qrsgqwgt7mcn5yqw3yx0w94pswkpq6j9uh6xfqqqtsk4tnaru"
        "geektd4hg5975x9am52rz4qskukxdmjemg92vvqz8nvmsye63r5ykel43pgz7zq0g2",
        sentence="signature",
    ),
    "too short": Invalid(
        text=f"lnbc1pvjluez{_P}dpl2pkx2ctnv5sxxmmwwd5kgetjypeh2ursdae8g6na6hlh",
        sentence="too short",
    ),
    "an unknown multiplier": Invalid(
        text=f"lnbc2500x1pvjluez{_P}dq5xysxxatsyp3k7enxv4jsxqzpu{_S}9qrsgqrrzc4cvfue4zp3hggxp47ag7xnrlr8vgcmkjxk3j5jqe"
        "thnumgkpqp23z9jclu3v0a7e0aruz366e9wqdykw6dxhdzcjjhldxq0w6wgqcnu43j",
        sentence="amount",
    ),
    "a fraction of a millisat": Invalid(
        text=f"lnbc2500000001p1pvjluez{_P}dq5xysxxatsyp3k7enxv4jsxqzpu{_S}9qrsgq0lzc236j96a95uv0m3umg28gclm5lqxtqqwk32"
        "uuk4k6673k6n5kfvx3d2h8s295fad45fdhmusm8sjudfhlf6dcsxmfvkeywmjdkxcp99202x",
        sentence="millisat",
    ),
    "no payment secret": Invalid(
        text=f"lnbc20m1pvjluez{_P}{_H}9qrsgq7ea976txfraylvgzuxs8kgcw23ezlrszfnh8r6qtfpr6cxga50aj6txm9rxrydzd06dfeawfk6"
        "swupvz4erwnyutnjq7x39ymw6j38gp49qdkj",
        sentence="payment secret",
    ),
}


@pytest.mark.parametrize("example", VALID.values(), ids=VALID.keys())
def test_a_published_example_is_read_as_the_specification_says(example: Example) -> None:
    invoice = bolt11.read(example.text)

    assert invoice.network is example.network
    assert invoice.amount == example.amount
    assert invoice.payment_hash == example.payment_hash
    assert invoice.payment_secret == SECRET
    assert invoice.description == example.description
    assert invoice.description_hash == example.description_hash
    assert invoice.created_at.timestamp() == example.created_at
    assert (invoice.expires_at - invoice.created_at).total_seconds() == example.lifetime
    assert invoice.features == example.features
    assert invoice.min_final_cltv_expiry == example.min_final_cltv_expiry
    assert invoice.payee == PAYEE


@pytest.mark.parametrize("example", INVALID.values(), ids=INVALID.keys())
def test_a_published_invalid_example_is_refused_with_its_reason(example: Invalid) -> None:
    with pytest.raises(NotABolt11, match=example.sentence):
        bolt11.read(example.text)


def test_a_high_s_signature_is_accepted_where_the_payee_is_not_named() -> None:
    invoice = bolt11.read(
        f"lnbc1pvjluez{_S}{_P}{_DONATION}9qrsgq357wnc5r2ueh7ck6q93dj32dlqnls087fxdwk8qakdyafkq3yap2r09nt4ndd0unm"
        "3z9u5t48y6ucv4r5sg7lk98c77ctvjczkspk5qprc90gx"
    )

    assert invoice.payment_hash == HASH


def test_the_example_with_fields_of_the_wrong_length_is_refused_as_the_newer_rule_says() -> None:
    """The newer rule (fail on a wrong length) overtook the example, which still has such fields."""
    zeros = "q" * 60
    text = (
        f"lnbc25m1pvjluez{_P}{_BEANS}{_S}9q5sqqqqqqqqqqqqqqqqsgq2qrqqqfppn{zeros[:32]}ppn{zeros[:51]}pp4{zeros[:53]}"
        f"hpn{zeros[:51]}hp4{zeros[:53]}spn{zeros[:51]}sp4{zeros[:53]}np5{zeros[:52]}npk{zeros[:54]}"
        "z599y53s3ujmcfjp5xrdap68qxymkqphwsexhmhr8wdz5usdzkzrse33chw6dlp3jhuhge9ley7j2ayx36kawe7kmgg8sv5ugdyusdcq"
        "zn8z9x"
    )

    with pytest.raises(NotABolt11, match="wrong length"):
        bolt11.read(text)
