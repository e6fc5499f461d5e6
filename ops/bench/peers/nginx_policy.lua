-- What a careful nginx engineer writes: the token is verified once and remembered in the worker, the limit is one
-- script call over a pooled connection, with the edge's own script (common/limits/script.lua).

local ffi = require "ffi"
local cjson = require "cjson.safe"
local lrucache = require "resty.lrucache"
local redis = require "nginx.redis"
local base64 = require "ngx.base64"

local C = ffi.C
local EVP_PKEY_ED25519 = 1087

ffi.cdef [[
typedef struct evp_pkey_st EVP_PKEY;
typedef struct evp_md_ctx_st EVP_MD_CTX;
EVP_PKEY *EVP_PKEY_new_raw_public_key(int type, void *engine, const unsigned char *key, size_t length);
EVP_MD_CTX *EVP_MD_CTX_new(void);
void EVP_MD_CTX_free(EVP_MD_CTX *context);
int EVP_DigestVerifyInit(EVP_MD_CTX *context, void **pkey_context, const void *type, void *engine, EVP_PKEY *key);
int EVP_DigestVerify(EVP_MD_CTX *context, const unsigned char *signature, size_t signature_length,
                     const unsigned char *signed_text, size_t signed_length);
]]

local M = {}
local given, key, remembered, window_microseconds

function M.configure(values)
  given = values
  local raw = values.public_key:gsub("..", function(pair) return string.char(tonumber(pair, 16)) end)
  key = C.EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, nil, raw, #raw)
  remembered = lrucache.new(50000)
  window_microseconds = values.window * 1000000
end

local function is_signed(text, signature)
  local context = C.EVP_MD_CTX_new()
  local good = C.EVP_DigestVerifyInit(context, nil, nil, nil, key) == 1
    and C.EVP_DigestVerify(context, signature, #signature, text, #text) == 1
  C.EVP_MD_CTX_free(context)
  return good
end

local function part(encoded)
  local raw = base64.decode_base64url(encoded)
  return raw and cjson.decode(raw)
end

-- The claims of a good token, or nil.
local function verified(token)
  local head, payload, signature = token:match("^([%w_-]+)%.([%w_-]+)%.([%w_-]+)$")
  if not head then return nil end
  local header, claims, raw = part(head), part(payload), base64.decode_base64url(signature)
  if not header or not claims or not raw or header.alg ~= "EdDSA" then return nil end
  if claims.iss ~= given.issuer or claims.aud ~= given.audience or type(claims.exp) ~= "number" then return nil end
  if not is_signed(head .. "." .. payload, raw) then return nil end
  return claims
end

local function claims_of(authorization)
  if not authorization or authorization:sub(1, 7) ~= "Bearer " then return nil end
  local claims = remembered:get(authorization)
  if not claims then
    claims = verified(authorization:sub(8))
    if not claims then return nil end
    claims.list = "gatehouse:limit:{user:" .. claims.sub .. "}:general"
    remembered:set(authorization, claims)
  end
  if claims.exp <= ngx.time() then return nil end
  return claims
end

-- {admitted, clock, used, leaves, wait} or nil when the store is away.
local function counted(list)
  local store = redis:new()
  store:set_timeout(1000)
  if not store:connect(given.redis_host, given.redis_port) then return nil end
  if store:get_reused_times() == 0 and given.redis_password ~= "" then store:auth(given.redis_password) end
  local answer = store:evalsha(given.script, 1, list, given.limit, window_microseconds, 1)
  store:set_keepalive(60000, 256)
  return answer
end

local function refuse(status, error)
  ngx.status = status
  ngx.header["Content-Type"] = "application/json"
  ngx.print('{"success":false,"error":"' .. error .. '"}')
  return ngx.exit(status)
end

function M.check()
  ngx.var.id = ngx.var.http_x_request_id or ngx.var.request_id
  local claims = claims_of(ngx.var.http_authorization)
  if not claims then return refuse(401, "Unauthorized") end
  ngx.var.caller = claims.sub
  local answer = counted(claims.list)
  if not answer then return refuse(503, "ServiceUnavailable") end
  local header = ngx.header
  header["X-RateLimit-Limit"] = given.limit
  header["X-RateLimit-Remaining"] = given.limit - answer[3]
  header["X-RateLimit-Reset"] = math.ceil(answer[4] / 1000000)
  if answer[1] == 0 then
    header["Retry-After"] = math.max(1, math.ceil(answer[5] / 1000000))
    return refuse(429, "TooManyRequests")
  end
end

return M
