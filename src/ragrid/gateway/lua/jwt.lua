-- Access tokens (RFC 9068): parse, verify the signature with libcrypto, check the types of all claims.
--
-- Only the signature verdict is cached, bound to the key that gave it; whether a token may do something now is
-- decided anew for each request (policy.lua). The key fixes the algorithm; the header is only compared with it.

local ffi = require "ffi"
local lrucache = require "resty.lrucache"
local strict = require "strict"

ffi.cdef [[
void *d2i_PUBKEY(void **key, const unsigned char **der, long length);
int EVP_PKEY_get_base_id(const void *key);
int EVP_PKEY_get_bits(const void *key);
int EVP_PKEY_get_group_name(const void *key, char *name, size_t size, size_t *length);
void EVP_PKEY_free(void *key);
void *EVP_MD_CTX_new(void);
int EVP_MD_CTX_reset(void *context);
const void *EVP_sha256(void);
int EVP_DigestVerifyInit(void *context, void **pctx, const void *digest, void *engine, void *key);
int EVP_DigestVerify(void *context, const unsigned char *signature, size_t signature_length,
                     const unsigned char *data, size_t data_length);
int EVP_Digest(const void *data, size_t length, unsigned char *out, unsigned int *out_length,
               const void *digest, void *engine);
void ERR_clear_error(void);
]]

local C = ffi.C
local byte, find, gmatch, rep, sub = string.byte, string.find, string.gmatch, string.rep, string.sub
local char = string.char
local decode_base64url = strict.decode_base64url

local _M = {}

-- Longest token that is looked at, in bytes; our own have about 600.
local TOKEN_LIMIT = 8192
local NAME_LIMIT = 256
-- Callers with a token of their own; 4 KB each, once there are as many. One more than fit costs 200 us a request.
local CACHE_ITEMS = 16384

-- algorithm -> EVP_PKEY base id, digest, least bits
local ALGORITHMS = {
    ES256 = { base_id = 408, digest = C.EVP_sha256(), bits = 256, group = "prime256v1" },
    RS256 = { base_id = 6, digest = C.EVP_sha256(), bits = 2048 },
    Ed25519 = { base_id = 1087, digest = nil, bits = 253 },
}
ALGORITHMS.EdDSA = ALGORITHMS.Ed25519

local context = C.EVP_MD_CTX_new()
local digest_buffer = ffi.new "unsigned char[32]"
local verified = assert(lrucache.new(CACHE_ITEMS))
local verdicts = ngx.shared.ragrid_verdicts

local function sha256(text)
    C.EVP_Digest(text, #text, digest_buffer, nil, C.EVP_sha256(), nil)
    return ffi.string(digest_buffer, 32)
end

-- Returns a key object from one entry of the state, or nil and what is wrong with it.
function _M.load_key(entry)
    if type(entry) ~= "table" or type(entry.kid) ~= "string" or type(entry.spki) ~= "string" then
        return nil, "a key needs the strings kid, alg and spki"
    end
    local algorithm = type(entry.alg) == "string" and ALGORITHMS[entry.alg]
    if not algorithm then
        return nil, "key " .. entry.kid .. ": alg must be ES256, RS256 or Ed25519"
    end
    local der = ngx.decode_base64(entry.spki)
    if not der then
        return nil, "key " .. entry.kid .. ": spki is not base64"
    end
    local cursor = ffi.new("const unsigned char *[1]", { ffi.cast("const unsigned char *", der) })
    local handle = C.d2i_PUBKEY(nil, cursor, #der)
    if handle == nil then
        C.ERR_clear_error()
        return nil, "key " .. entry.kid .. ": spki is not a public key in DER"
    end
    handle = ffi.gc(handle, C.EVP_PKEY_free)
    if C.EVP_PKEY_get_base_id(handle) ~= algorithm.base_id or C.EVP_PKEY_get_bits(handle) < algorithm.bits then
        return nil, "key " .. entry.kid .. ": kind or size does not fit " .. entry.alg
    end
    if algorithm.group then
        local name = ffi.new "char[64]"
        if C.EVP_PKEY_get_group_name(handle, name, 64, nil) ~= 1 or ffi.string(name) ~= algorithm.group then
            return nil, "key " .. entry.kid .. ": wanted the curve P-256"
        end
    end
    return {
        kid = entry.kid, alg = entry.alg, digest = algorithm.digest, handle = handle,
        fingerprint = sha256(entry.alg .. "\n" .. entry.kid .. "\n" .. der),
    }
end

-- DER of one unsigned integer given big-endian.
local function der_integer(text)
    local first = 1
    while first < #text and byte(text, first) == 0 do
        first = first + 1
    end
    text = sub(text, first)
    if byte(text, 1) >= 0x80 then
        text = "\0" .. text
    end
    return char(2, #text) .. text
end

-- JOSE writes r and s one after the other; OpenSSL wants SEQUENCE { r, s }.
local function der_signature(raw)
    if #raw ~= 64 then
        return nil
    end
    local body = der_integer(sub(raw, 1, 32)) .. der_integer(sub(raw, 33))
    return char(0x30, #body) .. body
end

local function signature_holds(key, signature, signed)
    if key.alg == "ES256" then
        signature = der_signature(signature)
        if not signature then
            return false
        end
    end
    C.EVP_MD_CTX_reset(context)
    local holds = C.EVP_DigestVerifyInit(context, nil, key.digest, nil, key.handle) == 1
        and C.EVP_DigestVerify(context, signature, #signature, signed, #signed) == 1
    if not holds then
        C.ERR_clear_error()
    end
    return holds
end

local function is_name(value)
    return type(value) == "string" and #value >= 1 and #value <= NAME_LIMIT and not find(value, "[^ -~]")
end

local function is_time(value)
    return type(value) == "number" and value == value and value >= 0 and value < 1e12
end

-- A list of strings as a set, or nil.
local function set_of(value)
    if not strict.is_list(value) then
        return nil
    end
    local set = {}
    for _, item in ipairs(value) do
        if type(item) ~= "string" then
            return nil
        end
        set[item] = true
    end
    return set
end

local function words(text)
    local set = {}
    for word in gmatch(text, "[^ ]+") do
        set[word] = true
    end
    return set
end

-- Returns the caller that the claims describe, or nil and a reason.
local function read_claims(claims, issuer)
    if type(claims.iss) ~= "string" or claims.iss ~= issuer then
        return nil, "wrong issuer"
    end
    local audience = type(claims.aud) == "string" and { [claims.aud] = true } or set_of(claims.aud)
    if not audience then
        return nil, "aud must be a string or a list of strings"
    end
    if not is_time(claims.exp) or not is_time(claims.iat) or (claims.nbf ~= nil and not is_time(claims.nbf)) then
        return nil, "exp, iat and nbf must be numbers"
    end
    if not is_name(claims.sub) or not is_name(claims.client_id) or not is_name(claims.jti) or not is_name(claims.tenant) then
        return nil, "sub, client_id, jti and tenant must be strings"
    end
    if claims.scope ~= nil and type(claims.scope) ~= "string" then
        return nil, "scope must be a string"
    end
    local roles = claims.roles == nil and {} or set_of(claims.roles)
    if not roles then
        return nil, "roles must be a list of strings"
    end
    return {
        subject = claims.sub, client = claims.client_id, tenant = claims.tenant, token_id = claims.jti, audience = audience,
        issued_at = claims.iat, expires_at = claims.exp, not_before = claims.nbf or 0,
        scope = words(claims.scope or ""), roles = roles,
    }
end

local HEADER_MEMBERS = { alg = true, kid = true, typ = true }

local function read_header(text)
    local header, fault = strict.decode_object(text)
    if not header then
        return nil, "the header is not plain JSON: " .. fault
    end
    for name in pairs(header) do
        if not HEADER_MEMBERS[name] then
            return nil, "the header holds more than alg, kid and typ"
        end
    end
    if type(header.kid) ~= "string" or type(header.alg) ~= "string" then
        return nil, "the header needs kid and alg"
    end
    if type(header.typ) ~= "string" or (header.typ:lower() ~= "at+jwt" and header.typ:lower() ~= "application/at+jwt") then
        return nil, "typ must be at+jwt"
    end
    return header
end

local function verify(token, keys, issuer)
    if #token > TOKEN_LIMIT then
        return nil, "the token is too long"
    end
    local first = find(token, ".", 1, true)
    local second = first and find(token, ".", first + 1, true)
    if not second or find(token, ".", second + 1, true) then
        return nil, "a token has three parts"
    end
    local header_text = decode_base64url(sub(token, 1, first - 1))
    local claims_text = decode_base64url(sub(token, first + 1, second - 1))
    local signature = decode_base64url(sub(token, second + 1))
    if not header_text or not claims_text or not signature then
        return nil, "a part is not plain base64url"
    end
    local header, fault = read_header(header_text)
    if not header then
        return nil, fault
    end
    local key = keys[header.kid]
    if not key then
        return nil, "unknown key"
    end
    if key.alg ~= header.alg then
        return nil, "wrong algorithm for this key"
    end
    -- the dictionary spares the other workers the arithmetic; its name binds the verdict to the key and every byte
    local name = sha256(key.fingerprint .. token)
    if not verdicts:get(name) and not signature_holds(key, signature, sub(token, 1, second - 1)) then
        return nil, "wrong signature"
    end
    local claims, caller
    claims, fault = strict.decode_object(claims_text)
    if not claims then
        return nil, "the claims are not plain JSON: " .. fault
    end
    caller, fault = read_claims(claims, issuer)
    if not caller then
        return nil, fault
    end
    local left = caller.expires_at - ngx.time()
    if left > 0 then
        verdicts:set(name, true, left)
    end
    caller.key = key
    return caller
end

-- Rare, and first met when a worker is new and LuaJIT chooses what to compile: the compiled path must be the other one,
-- where the token is known. (Left on, it cost every request 5 to 10 us.)
jit.off(verify, true)

-- Returns the caller behind an Authorization header, or nil and a reason that holds no part of the token.
-- Expiry, revocation, audience and permission are not looked at here.
function _M.caller(authorization, keys, issuer)
    local caller = verified:get(authorization)
    if caller and keys[caller.key.kid] == caller.key then
        return caller
    end
    if #authorization > TOKEN_LIMIT + 16 then
        return nil, "the token is too long"
    end
    if sub(authorization, 1, 7):lower() ~= "bearer " then
        return nil, "wanted a bearer token"
    end
    local fault
    caller, fault = verify(sub(authorization, 8), keys, issuer)
    if not caller then
        return nil, fault
    end
    verified:set(authorization, caller)
    return caller
end

return _M
