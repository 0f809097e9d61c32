-- The socket on which a request waits for its instance. Neither nginx nor ngx_lua tells it, so it is read where every
-- nginx keeps it, in ngx_http_request_t -> upstream -> peer.connection -> fd (the places are the same from 1.22 to 1.29,
-- and modules depend on them). Nothing is believed: the kernel copies the memory, so a wrong place is an error and no
-- crash, and what is found must be a socket to that instance.

local ffi = require "ffi"
local base = require "resty.core.base"
require "resty.core.var"

ffi.cdef [[
struct ragrid_piece { uint64_t at; size_t length; };
long process_vm_readv(int pid, const struct ragrid_piece *here, unsigned long here_count,
                      const struct ragrid_piece *there, unsigned long there_count, unsigned long flags);
int getpeername(int fd, void *address, unsigned int *length);
int getsockopt(int fd, int level, int name, void *value, unsigned int *length);
int shutdown(int fd, int how);
int inet_pton(int family, const char *text, void *address);
]]

local C = ffi.C
local cast, new = ffi.cast, ffi.new

local _M = {}

local SIGNATURE = 0x50545448 -- "HTTP", with which nginx marks a request
-- Offsets on machines of 64 bits.
local UPSTREAM, CONNECTION, FD = 72, 16, 24
local AF_INET, AF_INET6 = 2, 10
local IPPROTO_TCP, TCP_INFO, TCP_SYN_SENT = 6, 11, 2
-- struct tcp_info of linux/tcp.h
local LAST_DATA_RECV, BYTES_RECEIVED, INFO_LENGTH = 52, 128, 136
local SHUT_RDWR = 2

local here, there = new "struct ragrid_piece[1]", new "struct ragrid_piece[1]"
local word = new "uint64_t[1]"
local peer, length = new "uint8_t[128]", new "unsigned int[1]"
local info = new("uint8_t[?]", INFO_LENGTH)
local value, value_length = new "char *[1]", base.get_size_ptr()
local packed = {} -- address of an instance -> {family and port, bytes of the host, where they are in a struct sockaddr}

-- Returns eight bytes of this process as a number, or nil when nothing is there. (Pointers have 47 bits.)
local function read(at)
    here[0].at, here[0].length = cast("uintptr_t", word), 8
    there[0].at, there[0].length = at, 8
    if C.process_vm_readv(ngx.worker.pid(), here, 1, there, 1, 0) ~= 8 then
        return nil
    end
    return tonumber(word[0])
end

local function low_half(figure)
    return figure and figure % 2 ^ 32
end

local function pack(endpoint)
    local is_v6 = endpoint.host:find(":", 1, true) ~= nil
    local family, size = is_v6 and AF_INET6 or AF_INET, is_v6 and 16 or 4
    local host = new "uint8_t[16]"
    C.inet_pton(family, (endpoint.host:gsub("[%[%]]", "")), host)
    return { family = family, port = endpoint.port, host = ffi.string(host, size), at = is_v6 and 8 or 4 }
end

local function is_peer(endpoint)
    local wanted = packed[endpoint.address]
    if not wanted then
        wanted = pack(endpoint)
        packed[endpoint.address] = wanted
    end
    return cast("uint16_t *", peer)[0] == wanted.family and peer[2] * 256 + peer[3] == wanted.port
        and ffi.string(peer + wanted.at, #wanted.host) == wanted.host
end

local function load_info(fd)
    length[0] = INFO_LENGTH
    return C.getsockopt(fd, IPPROTO_TCP, TCP_INFO, info, length) == 0 and length[0] >= INFO_LENGTH
end

local function descriptor(request)
    if low_half(read(request)) ~= SIGNATURE then
        return nil, "no request is where ngx_lua says"
    end
    local at = read(request + UPSTREAM)
    if at and at ~= 0 then
        at = read(at + CONNECTION)
    end
    if at == 0 then
        return nil -- it has no connection at the moment
    end
    local fd = at and low_half(read(at + FD))
    if not fd then
        return nil, "no connection is where nginx keeps it"
    end
    return fd
end

-- Returns the descriptor of the socket to `endpoint` on which `request` (its address in memory, a number) waits, and whether
-- it is still being connected. nil: there is none; nil and a reason: this nginx keeps it elsewhere.
function _M.find(request, endpoint)
    local fd, fault = descriptor(request)
    if not fd then
        return nil, fault
    end
    length[0] = 128
    if C.getpeername(fd, peer, length) == 0 then
        if not is_peer(endpoint) then
            return nil, "the socket leads elsewhere"
        end
        return fd, false
    end
    if load_info(fd) and info[0] == TCP_SYN_SENT then
        return fd, true
    end
    return nil -- closed, and nginx has not noticed yet
end

-- Returns for how many seconds nothing has come on a socket; nil when nothing ever has.
function _M.silent_for_s(fd)
    if not load_info(fd) or cast("uint64_t *", info + BYTES_RECEIVED)[0] == 0 then
        return nil
    end
    return cast("uint32_t *", info + LAST_DATA_RECV)[0] / 1000
end

-- Ends the connection; nginx finds that out by itself, as if the instance had done it.
function _M.cut(fd)
    return C.shutdown(fd, SHUT_RDWR) == 0
end

-- True when the header of the answer has come; anything may be on its way to the caller then. From outside of the request,
-- so not by ngx.var.
function _M.has_answer(request)
    local name = "upstream_header_time"
    local code = C.ngx_http_lua_ffi_var_get(cast("ngx_http_request_t *", cast("uintptr_t", request)), name, #name,
        base.get_string_buf(#name), 0, value, value_length, base.get_errmsg_ptr())
    if code ~= 0 or value_length[0] == 0 then
        return false
    end
    return value[0][tonumber(value_length[0]) - 1] ~= 45 -- "-": the last try has none
end

return _M
