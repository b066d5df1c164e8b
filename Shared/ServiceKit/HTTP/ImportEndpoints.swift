import Database
import Foundation
import HTTPTypes
import Hummingbird
import Records

/// Files coming in: the upload, and what was wrong with its rows.
extension CommonEndpoints {
    var createImport: Endpoint {
        let documentation = EndpointDocumentation {
            let content: JSONValue = [
                "multipart/form-data": [
                    "schema": [
                        "type": "object", "required": ["options", "file"], "additionalProperties": false,
                        "properties": [
                            "options": importOptions,
                            "file": [
                                "type": "string", "minLength": 1, "pattern": #"^[^\u0000]+$"#,
                                "description": "Any UTF-8 text: CSV with a header row, NDJSON, or the type's own.",
                            ],
                        ],
                    ],
                    "encoding": ["options": ["contentType": "application/json"]],
                ]
            ]
            let media = store.catalogue.importable.compactMap(\.format?.mediaTypes.first)
            $0.rawBody = [
                "required": true, "content": content,
                "description": .string(
                    (["A form"] + media.map { "or a file as it is, sent as \($0)" }).joined(separator: ", ") + "."),
            ]
            let id: JSONValue = ["type": "string", "format": "uuid"]
            $0.response = [
                "type": "object", "required": ["job_id", "import_id"], "properties": ["job_id": id, "import_id": id],
            ]
            $0.parameters = [RecordSchemas(catalogue: store.catalogue).idempotencyKey]
            $0.status = 202
            $0.refusals = [413, 415, 422]
            $0.links = [("job_id", "/v1/jobs/{id}"), ("import_id", "/v1/imports/{id}")]
        }
        return Endpoint(.post, "/v1/imports", "Import a file by a job", documentation: documentation) { request in
            try request.allow([])
            var upload = ImportUpload(store: store, context: request.context)
            let options: ImportOptions
            do {
                options = try await receive(request, &upload)
            } catch {
                await upload.discard()
                throw error
            }
            // From here on an error may hide a commit, and a committed import needs its file: nothing is discarded.
            let result = try await upload.finish(options)
            return EndpointResponse(result, to: request, at: "/v1/jobs")
        }
    }

    private var importOptions: JSONValue {
        let types = store.catalogue.importable
        return formats(of: types) { importOptions($0, $1) }
    }

    /// The schema of options by what goes together: all types with the general formats, and each type with its own.
    func formats(of types: [RecordType], _ schema: (_ types: JSONValue, _ formats: JSONValue) -> JSONValue) -> JSONValue
    {
        func choice(_ names: [String], orNull: Bool) -> JSONValue {
            let values: [JSONValue] = names.map { .string($0) } + (orNull ? [.null] : [])
            return ["type": orNull ? ["string", "null"] : "string", "enum": .array(values)]
        }
        let general = schema(choice(types.map(\.name), orNull: false), choice(FileFormat.general, orNull: true))
        let own = types.compactMap { type in
            type.format.map { format in
                guard
                    case .object(var members) = schema(
                        choice([type.name], orNull: false), choice([format.name], orNull: false))
                else { return general }
                members["required"] = ["type", "format"]
                return JSONValue.object(members)
            }
        }
        return own.isEmpty ? general : ["anyOf": .array([general] + own)]
    }

    private func importOptions(_ types: JSONValue, _ formats: JSONValue) -> JSONValue {
        [
            "type": "object", "required": ["type"], "additionalProperties": false,
            "properties": [
                "type": types, "format": formats, "duplicates": choice(ImportOptions.Duplicates.self),
                "bad_values": choice(ImportOptions.BadValues.self),
                "source": [
                    "type": ["string", "null"], "maxLength": 60, "pattern": #"^[^\u0000-\u001F\u007F-\u009F]*$"#,
                ],
                "mapping": [
                    "type": ["object", "null"], "description": "Column to field: {\"Mail\": \"emails.work\"}.",
                    "additionalProperties": ["type": "string", "enum": .array(mappable)],
                ],
                "dry_run": ["type": ["boolean", "null"]],
            ],
        ]
    }

    /// One of an option's values, or null for its usual one.
    func choice<Choice: CaseIterable & RawRepresentable>(_ type: Choice.Type) -> JSONValue
    where Choice.RawValue == String {
        ["type": ["string", "null"], "enum": .array(Choice.allCases.map { .string($0.rawValue) } + [.null])]
    }

    /// Fields that every type which can be imported has, so that any of them goes with any type.
    private var mappable: [JSONValue] {
        let types = store.catalogue.importable
        let names = types.map { type in
            Set(
                type.fields.filter { field in
                    if case .list = field.kind { return false }
                    return !field.isReadOnly
                }.map(\.name))
        }
        guard let first = names.first else { return [] }
        return names.dropFirst().reduce(first) { $0.intersection($1) }.sorted().map { .string($0) }
    }

    /// Reads the form, or a file of some type's own format as it is.
    private func receive(_ request: EndpointRequest, _ upload: inout ImportUpload) async throws -> ImportOptions {
        let contentType = request.headers[.contentType]
        if var reader = contentType.flatMap(MultipartReader.init) {
            return try await receive(request.body, &reader, &upload)
        }
        let media = contentType?.split(separator: ";").first.map { $0.lowercased().filter { $0 != " " } } ?? ""
        guard let type = store.catalogue.importable.first(where: { $0.format?.mediaTypes.contains(media) == true })
        else {
            throw Problem(
                415, "unsupported_media_type", "Send multipart/form-data with the parts options and file.")
        }
        let options = try ImportOptions(
            ["type": .string(type.name), "format": .string(type.format!.name)], catalogue: store.catalogue)
        try upload.check(options)
        for try await buffer in request.body { try await upload.add(buffer.readableBytesView) }
        return options
    }

    /// Reads the form: the options, and the file, which goes on as it comes.
    private func receive(
        _ body: RequestBody, _ reader: inout MultipartReader, _ upload: inout ImportUpload
    ) async throws -> ImportOptions {
        var options: ImportOptions?
        var optionBytes: [UInt8] = []
        var part = ""
        var sawFile = false
        for try await buffer in body {
            for event in try reader.feed(buffer.readableBytesView) {
                switch event {
                case .begin(let name):
                    part = name
                    guard name == "options" || name == "file" else {
                        throw Problem.badRequest("unknown_part", "There is no part \(name.prefix(60)).")
                    }
                    if name == "file" {
                        // Options that come after the file say the type too late: some import must be allowed.
                        if options == nil { try upload.checkAny() }
                        sawFile = true
                    }
                case .bytes(let bytes):
                    if part == "file" {
                        try await upload.add(bytes)
                    } else {
                        optionBytes += bytes
                        guard optionBytes.count <= 65_536 else {
                            throw Problem(413, "body_too_large", "The options are too long.")
                        }
                    }
                case .end:
                    if part == "options" {
                        let read = try Self.options(optionBytes, store.catalogue)
                        try upload.check(read)
                        options = read
                    }
                }
            }
        }
        guard reader.isFinished, sawFile, let options else {
            throw Problem.badRequest("invalid_multipart", "The parts options and file belong here, both ended.")
        }
        return options
    }

    private static func options(_ bytes: [UInt8], _ catalogue: Catalogue) throws -> ImportOptions {
        let json: JSONValue
        do { json = try JSONParser.parse(bytes) } catch {
            throw Problem.badRequest("invalid_json", "options is not JSON: \(error).")
        }
        return try ImportOptions(json, catalogue: catalogue)
    }

    var importErrors: Endpoint {
        let documentation = EndpointDocumentation {
            $0.response = ["type": "string"]
            $0.responseType = "text/csv"
            $0.refusals = [404]
        }
        return Endpoint(
            .get, "/v1/imports/{id}/errors", "An import's errors as CSV: mend and send again",
            documentation: documentation
        ) { request in
            try request.allow([])
            let id = try request.id()
            let tenant = request.context.tenant
            let results = try await store.database.batch(
                tenant: tenant,
                [
                    Statement(
                        "select record_type, actor from \(schema).import where tenant_id = $1 and id = $2",
                        [tenant.parameter, .uuid(id)]),
                    Statement(
                        """
                        select row_number, column_name, code, message, row_text from \(schema).import_error
                        where tenant_id = $1 and import_id = $2 order by row_number, column_name limit 100000
                        """, [tenant.parameter, .uuid(id)]),
                ], readOnly: true)
            guard results[0].count == 1, let type = store.catalogue.type(named: results[0].text(0, 0)!) else {
                throw Problem.notFound("import")
            }
            _ = try request.context.scope(of: .import, on: type)
            // The rows are shown as they came: to others only where they may see every field.
            guard results[0].text(0, 1) == request.context.actor || request.context.hidden(type).isEmpty else {
                throw Problem.notFound("import")
            }
            var csv = "row,column,code,message,text\r\n"
            let rows = results[1]
            for row in 0..<rows.count {
                csv += (0..<5).map { Self.quoted(rows.text(row, $0) ?? "") }.joined(separator: ",") + "\r\n"
            }
            return EndpointResponse(200, Array(csv.utf8), contentType: "text/csv; charset=utf-8")
        }
    }

    /// A CSV field. A leading `=`, `+`, `-` or `@` gets a quote before it: a spreadsheet must not run it.
    private static func quoted(_ text: String) -> String {
        let text = text.first.map { "=+-@".contains($0) } == true ? "'" + text : text
        guard text.contains(where: { $0 == "," || $0 == "\"" || $0.isNewline }) else { return text }
        return "\"" + text.replacing("\"", with: "\"\"") + "\""
    }
}
