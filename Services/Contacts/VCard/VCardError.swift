/// Why a card can't be read. The cards that follow it are.
package struct VCardError: Error, Sendable, Equatable {
    /// Stable, for programs.
    package enum Code: String, Error, Sendable, CaseIterable {
        /// The text ends within a card.
        case missingEnd = "missing_end"
        /// A card begins before the one before it ended; reading goes on with the new one.
        case nestedBegin = "nested_begin"
        /// Text stands where no card has begun; a whole stretch of it is one error.
        case outsideCard = "outside_card"
        /// A value is not UTF-8, nor what its CHARSET says.
        case wrongEncoding = "wrong_encoding"
        /// CHARSET names another encoding than UTF-8, US-ASCII or ISO-8859-1, and the value needs it.
        case unsupportedCharset = "unsupported_charset"
        /// The card holds zero bytes: it is no text.
        case binary
        /// A line, unfolded, is longer than `VCardReader.longestLine`.
        case lineTooLong = "line_too_long"
        /// The card is larger than `VCardReader.largestCard`, or has more than `VCardReader.mostValues` values.
        case cardTooLarge = "card_too_large"
    }

    package let code: Code
    /// The line of the text, from 1, where it was noticed.
    package let line: Int

    /// For people.
    package var message: String {
        switch code {
        case .missingEnd: "The card has no END:VCARD."
        case .nestedBegin: "Another card begins before END:VCARD."
        case .outsideCard: "This text is part of no card."
        case .wrongEncoding: "The text is not UTF-8."
        case .unsupportedCharset: "The text is in a character set other than UTF-8, US-ASCII or ISO-8859-1."
        case .binary: "The card holds bytes that are no text."
        case .lineTooLong: "A line is at most \(VCardReader.longestLine) bytes."
        case .cardTooLarge:
            "A card is at most \(VCardReader.largestCard) bytes, its pictures aside, and \(VCardReader.mostValues) values."
        }
    }
}
