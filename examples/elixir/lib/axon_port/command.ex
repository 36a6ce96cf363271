defmodule AxonPort.Command do
  @moduledoc """
  A command, encoded except for its id and its limit.

  The caller's process encodes, so that a long history costs its caller the time and not the worker's owner, which
  would hold up everybody else; what travels to the owner is one binary that is not copied. The owner puts in front what
  is known only when it is sent: the id, and how much of the caller's time is left.
  """

  alias AxonPort.{Codec, Error}

  # What is in it is its sender's affair: prompts, and keys of models.
  @derive {Inspect, only: [:type]}
  @enforce_keys [:type, :body]
  defstruct [:type, :body]

  @typedoc "`body` is the JSON of the command without its opening brace."
  @type t :: %__MODULE__{type: String.t(), body: binary}

  # Levels below the frame's own object, that of the innermost value included, and arrays, objects and keys that a worker
  # reads (JSON-DEPTH, JSON-ITEMS). Of a frame beyond that it cannot say whose it was: its caller would wait in vain.
  @levels 200
  @items 4_194_304

  @doc "A command of this type. Fields that are `nil` are left out, as the protocol treats them alike."
  @spec new(String.t(), Enumerable.t()) :: {:ok, t} | {:error, Error.t()}
  def new(type, fields \\ %{}) do
    with {:ok, plain} <- fields |> given() |> Map.put("type", type) |> Codec.plain(),
         :ok <- readable(plain) do
      "{" <> body = Codec.write(plain)
      {:ok, %__MODULE__{type: type, body: body}}
    end
  end

  @doc "The answer to a call: fields of a `tool_result`, or of an `approval`."
  @spec answer(:tool | :approval, String.t(), map) :: {:ok, t} | {:error, Error.t()}
  def answer(:tool, call_id, fields), do: new("tool_result", Map.put(fields, "call_id", call_id))
  def answer(:approval, call_id, fields), do: new("approval", Map.put(fields, "call_id", call_id))

  @doc "The answer to a call that has no other: it has failed, or is not allowed, and why."
  @spec refusal(:tool | :approval, String.t(), String.t()) :: t
  def refusal(:tool, call_id, text), do: new!("tool_result", call_id: call_id, error: text)

  def refusal(:approval, call_id, text) do
    new!("approval", call_id: call_id, approved: false, message: text)
  end

  @doc "As `new/2`. Raises `AxonPort.Error`."
  @spec new!(String.t(), Enumerable.t()) :: t
  def new!(type, fields \\ %{}) do
    case new(type, fields) do
      {:ok, command} -> command
      {:error, error} -> raise error
    end
  end

  @doc "The frame of the command with this id, and with a limit in milliseconds if it has one."
  @spec frame(t, integer, pos_integer | nil) :: iodata
  def frame(%__MODULE__{body: body}, id, limit_ms \\ nil), do: [head(id, limit_ms), body]

  defp head(id, nil), do: ["{\"id\":", Integer.to_string(id), ","]
  defp head(id, ms), do: [head(id, nil), "\"timeout_ms\":", Integer.to_string(ms), ","]

  @doc "The length of the frame in bytes, at most: ids differ in length."
  @spec size(t, pos_integer | nil) :: pos_integer
  def size(command, limit_ms \\ nil), do: command |> frame(-(2 ** 63), limit_ms) |> IO.iodata_length()

  # The frame's id is one more key.
  defp readable(plain) do
    if items(plain, 0, 1) <= @items, do: :ok, else: unreadable("more than #{@items} arrays, objects and keys")
  catch
    :too_deep -> unreadable("nested more than #{@levels} levels deep")
  end

  defp unreadable(why), do: {:error, Error.new(:unencodable, "no worker reads what is #{why}")}

  defp items(_term, level, _count) when level > @levels, do: throw(:too_deep)

  defp items(list, level, count) when is_list(list),
    do: Enum.reduce(list, count + 1, &items(&1, level + 1, &2))

  defp items(map, level, count) when is_map(map) do
    Enum.reduce(map, count + 1, fn {_key, value}, count -> items(value, level + 1, count + 1) end)
  end

  defp items(_scalar, _level, count), do: count

  # `result` and `deps` may be null and mean it.
  defp given(fields) do
    for {key, value} <- fields, value != nil or to_string(key) in ["result", "deps"], into: %{} do
      {to_string(key), value}
    end
  end
end
