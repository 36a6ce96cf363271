defmodule AxonPort.Conversation.Stored do
  @moduledoc "A conversation as JSON: the transcript, and the options of every run."

  import AxonPort.Milliseconds, only: [is_milliseconds: 1]

  alias AxonPort.{Codec, Plain}
  alias AxonPort.Conversation.Transcript

  # A text of another version is refused rather than half understood.
  @version 1

  @options [
    :instructions,
    :deps,
    :model_settings,
    :usage_limits,
    :metadata,
    :timeout,
    :idle_timeout,
    :retry
  ]
  @by_name Map.new(@options, &{Atom.to_string(&1), &1})

  @typedoc "Options of every run, as plain data."
  @type options :: %{atom => Plain.t()}

  @doc """
  Options of a run, made plain.

  Raises `ArgumentError` for one that a conversation does not keep, and for a value without a form in JSON.
  """
  @spec options!(Enumerable.t()) :: options
  def options!(options) do
    Map.new(options, fn {key, value} ->
      if valid?(key, value) do
        {key, plain!(key, value)}
      else
        raise ArgumentError, "a run's #{inspect(key)} cannot be #{inspect(value)}"
      end
    end)
  end

  @doc "These options with others over them; one that is `nil` is taken away."
  @spec merge(options, map) :: options
  def merge(options, over) do
    options |> Map.merge(over) |> Map.reject(fn {_key, value} -> value == nil end)
  end

  @doc "The plain form of an option's value. Raises `ArgumentError`, which names the option."
  @spec plain!(atom, term) :: Plain.t()
  def plain!(key, value), do: Plain.from!(%{key => Plain.object(value)})[Atom.to_string(key)]

  defp valid?(key, nil), do: key in @options
  defp valid?(key, value) when key in [:timeout, :idle_timeout], do: is_milliseconds(value)
  defp valid?(key, _value), do: key in @options

  @doc "The text."
  @spec encode!(Transcript.t(), options) :: String.t()
  def encode!(transcript, options) do
    Codec.encode!(%{version: @version, options: options, transcript: Transcript.dump(transcript)})
  end

  @doc "What a text holds. Raises `ArgumentError` if it is none of ours."
  @spec decode!(String.t()) :: {Transcript.t(), options}
  def decode!(json) do
    with {:ok, %{"version" => @version, "options" => %{} = options, "transcript" => dumped}} <-
           Codec.decode(json),
         {:ok, transcript} <- Transcript.load(dumped),
         true <- Enum.all?(options, fn {name, _value} -> is_map_key(@by_name, name) end) do
      {transcript, Map.new(options, fn {name, value} -> {@by_name[name], value} end)}
    else
      _other ->
        raise ArgumentError, "this is no stored conversation, or one of another version than #{@version}"
    end
  end
end
