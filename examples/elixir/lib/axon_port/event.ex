defmodule AxonPort.Event do
  @moduledoc """
  A frame of the worker, looked at once: `AxonPort.Session`, and whoever works for it, relies on the shapes that are asked
  for here. A worker that breaks them is no worker; types and fields of a later version are passed over.
  """

  alias AxonPort.Codec

  @typedoc "A frame, decoded, of the type under `\"type\"`."
  @type t :: %{String.t() => AxonPort.Plain.t()}

  # A shape after `:maybe` is for a field that may be missing.
  @account [usage: {:maybe, :object}, messages: {:maybe, :list}]
  @call [id: :any, call_id: :text, name: :text, args: :object]

  @shapes %{
    "ready" => [protocol: :any, limits: {:maybe, :limits}],
    "result" => [id: :any, result: :any, deferred: {:maybe, :object}] ++ @account,
    "error" => [id: :any, error_type: :text, message: {:maybe, :text}] ++ @account,
    "chunk" => [id: :any, kind: :text, data: :any, seq: :integer, step: :integer],
    "tool_call" => @call,
    "approval_request" => @call,
    "tool_cancel" => [id: :any, call_id: :text],
    "log" => [message: {:maybe, :text}, traceback: {:maybe, :text}],
    "goodbye" => []
  }

  @shapes Map.new(@shapes, fn {type, fields} ->
            {type, for({field, shape} <- fields, do: {Atom.to_string(field), shape})}
          end)

  @doc "The event in a frame's payload, or what is wrong with it."
  @spec read(binary) :: {:ok, t} | {:error, String.t()}
  def read(payload) do
    case Codec.decode(payload) do
      {:ok, %{"type" => type} = frame} when is_binary(type) -> judged(frame, type)
      {:ok, _other} -> {:error, "a frame that is no event"}
      {:error, error} -> {:error, error.message}
    end
  end

  defp judged(frame, type) do
    case Enum.find(Map.get(@shapes, type, []), fn {field, shape} -> not has?(frame, field, shape) end) do
      nil -> {:ok, frame}
      {field, _shape} -> {:error, "#{type} with a broken #{field}"}
    end
  end

  defp has?(frame, field, {:maybe, shape}), do: frame[field] == nil or shaped?(shape, frame[field])
  defp has?(frame, field, shape), do: is_map_key(frame, field) and shaped?(shape, frame[field])

  defp shaped?(:any, _value), do: true
  defp shaped?(:text, value), do: is_binary(value)
  defp shaped?(:integer, value), do: is_integer(value)
  defp shaped?(:list, value), do: is_list(value)
  defp shaped?(:object, value), do: is_map(value)

  defp shaped?(:limits, value) do
    is_map(value) and Enum.all?(["max_frame_bytes", "max_inflight"], &limit?(value[&1]))
  end

  defp limit?(value), do: value == nil or (is_integer(value) and value > 0)
end
