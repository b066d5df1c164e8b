import Testing

@testable import Tenancy

@Suite("One-time codes")
struct OneTimeCodeTests {
    private func hex(_ bytes: [UInt8]) -> String {
        bytes.map { String($0 >> 4, radix: 16) + String($0 & 15, radix: 16) }.joined()
    }

    @Test("SHA-1 gives the digests of FIPS 180 at every length around its block's")
    func digests() {
        #expect(hex(SHA1.hash(Array("abc".utf8))) == "a9993e364706816aba3e25717850c26c9cd0d89d")
        #expect(hex(SHA1.hash([])) == "da39a3ee5e6b4b0d3255bfef95601890afd80709")
        let two = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"
        #expect(hex(SHA1.hash(Array(two.utf8))) == "84983e441c3bd26ebaae4aa1f95129e5e54670f1")
        #expect(
            hex(SHA1.hash([UInt8](repeating: 97, count: 1_000_000))) == "34aa973cd4c4daa4f61eeb2bdbad27316534016f")
    }

    @Test("HMAC-SHA-1 gives the codes of RFC 2202")
    func authenticationCodes() {
        func code(_ key: [UInt8], _ message: [UInt8]) -> String {
            hex(SHA1.authenticationCode(of: message, key: key))
        }
        func bytes(_ byte: UInt8, _ count: Int) -> [UInt8] { [UInt8](repeating: byte, count: count) }
        #expect(code(bytes(0x0b, 20), Array("Hi There".utf8)) == "b617318655057264e28bc0b6fb378c8ef146be00")
        #expect(
            code(Array("Jefe".utf8), Array("what do ya want for nothing?".utf8))
                == "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79")
        #expect(code(bytes(0xaa, 20), bytes(0xdd, 50)) == "125d7342b9ac11cd91a39af48aa17b4f63f175d3")
        #expect(code((1...25).map { $0 }, bytes(0xcd, 50)) == "4c9007f4026250c6bc8414f9bf50c86c2d7235da")
        #expect(
            code(bytes(0xaa, 80), Array("Test Using Larger Than Block-Size Key - Hash Key First".utf8))
                == "aa4ae5e15272d00e95705637ce8a3b55ed402112")
    }

    private let reference = OneTimeCode(secret: Array("12345678901234567890".utf8))

    @Test(
        "the codes are those of RFC 6238",
        arguments: [
            (59, "94287082"), (1_111_111_109, "07081804"), (1_111_111_111, "14050471"), (1_234_567_890, "89005924"),
            (2_000_000_000, "69279037"), (20_000_000_000, "65353130"),
        ] as [(Int64, String)])
    func reference(time: Int64, code: String) {
        #expect(reference.code(step: OneTimeCode.step(at: time), digits: 8) == code)
        #expect(reference.code(step: OneTimeCode.step(at: time)) == code.suffix(6))
    }

    @Test("a code counts in its step and one to either side, once")
    func window() {
        let now: Int64 = 1_111_111_109
        let step = OneTimeCode.step(at: now)
        for distance in -3...3 as ClosedRange<Int64> {
            let found = reference.step(of: reference.code(step: step + distance), at: now)
            #expect(found == (abs(distance) <= 1 ? step + distance : nil), "\(distance)")
        }
        let code = reference.code(step: step)
        #expect(reference.step(of: code, at: now, after: step) == nil, "used before")
        #expect(reference.step(of: code, at: now, after: step - 1) == step)
        for wrong in ["", "1", "0000000", "abcdef", "１２３４５６"] { #expect(reference.step(of: wrong, at: now) == nil) }
    }

    @Test("apps get the secret in base 32, and names that need it escaped")
    func uri() {
        #expect(reference.text == "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ")
        #expect(OneTimeCode(secret: Array("foob".utf8)).text == "MZXW6YQ")
        let uri = reference.uri(issuer: "Guanxi 关系", account: "ada@example.com")
        #expect(uri.hasPrefix("otpauth://totp/Guanxi%20%E5%85%B3%E7%B3%BB:ada%40example.com?secret=GEZDGNBV"))
        #expect(OneTimeCode.make().secret.count == 20)
    }
}
