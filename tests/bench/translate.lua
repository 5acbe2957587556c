-- Translates a Matrix42 record to the gateway's format, and a merge patch of its fields to the vendor's update.
local cjson = require "cjson"
-- Without it `12345678901234` becomes `1.2345678901234e+13`.
cjson.encode_number_precision(14)

local FRAGMENTS = "/m42Services/api/data/fragments/"
local translate = {}

local function get(collection, key)
    local response = ngx.location.capture(FRAGMENTS .. collection .. "/" .. key)
    if response.status ~= 200 then
        return ngx.exit(response.status)
    end
    local fields = cjson.decode(response.body)
    local tag = '"' .. fields.TimeStamp .. '"'
    fields.ID, fields.TimeStamp = nil, nil
    ngx.header["Content-Type"] = "application/json"
    ngx.header["ETag"] = tag
    ngx.print(cjson.encode({ system = "itsm", id = collection .. ":" .. key, etag = tag, fields = fields }))
end

local function patch(collection, key)
    ngx.req.read_body()
    local fields = cjson.decode(ngx.req.get_body_data()).fields
    fields.ID = key
    fields.TimeStamp = ngx.var.http_if_match:sub(2, -2)
    local body = cjson.encode(fields)
    local response = ngx.location.capture(FRAGMENTS .. collection, { method = ngx.HTTP_PUT, body = body })
    ngx.exit(response.status)
end

function translate.respond(collection, key)
    if ngx.req.get_method() == "GET" then
        return get(collection, key)
    end
    return patch(collection, key)
end

return translate
