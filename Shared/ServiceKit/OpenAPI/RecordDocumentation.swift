import Records

/// Schemas for the documentation of endpoints that answer with a record.
package enum RecordDocumentation {
    /// Any record: what all of them have.
    package static let record: JSONValue = [
        "type": "object", "required": ["id", "version"],
        "properties": ["id": ["type": "string", "format": "uuid"], "version": ["type": "integer"]],
    ]

    /// A body of these fields, as strict as a `FieldReader` is.
    package static func body(_ fields: [Field]) -> JSONValue {
        RecordSchemas(catalogue: Catalogue([])).object(fields, isInput: true)
    }

    /// A moment in a query, RFC 3339, as strict as the service reads it.
    package static let moment: JSONValue = RecordSchemas(catalogue: Catalogue([])).moment
}
