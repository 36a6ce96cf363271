defmodule AxonPort.Command do
  @moduledoc """
  A command, encoded except for its id.

  The caller's process encodes, so that a long history costs its caller the time and not the worker's owner, which
  would hold up everybody else; what travels to the owner is one binary that is not copied. The owner puts the id in
  front.
  """

  alias AxonPort.{Codec, Error}

  @enforce_keys [:type, :body]
  defstruct [:type, :body]

  @typedoc "`body` is the JSON of the command without its opening brace."
  @type t :: %__MODULE__{type: String.t(), body: binary}

  # {"id":-9223372036854775808,
  @id_bytes 27

  @doc "A command of this type. Fields that are `nil` are left out, as the protocol treats them alike."
  @spec new(String.t(), Enumerable.t()) :: {:ok, t} | {:error, Error.t()}
  def new(type, fields \\ %{}) do
    with {:ok, "{" <> body} <- fields |> given() |> Map.put("type", type) |> Codec.encode() do
      {:ok, %__MODULE__{type: type, body: body}}
    end
  end

  @doc "As `new/2`. Raises `AxonPort.Error`."
  @spec new!(String.t(), Enumerable.t()) :: t
  def new!(type, fields \\ %{}) do
    case new(type, fields) do
      {:ok, command} -> command
      {:error, error} -> raise error
    end
  end

  @doc "The frame of the command with this id."
  @spec frame(t, integer) :: iodata
  def frame(%__MODULE__{body: body}, id), do: ["{\"id\":", Integer.to_string(id), ",", body]

  @doc "The length of the frame in bytes, at most."
  @spec size(t) :: pos_integer
  def size(%__MODULE__{body: body}), do: @id_bytes + byte_size(body)

  # `result` and `deps` may be null and mean it.
  defp given(fields) do
    for {key, value} <- fields, value != nil or to_string(key) in ["result", "deps"], into: %{} do
      {to_string(key), value}
    end
  end
end
