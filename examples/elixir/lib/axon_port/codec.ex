defmodule AxonPort.Codec do
  @moduledoc """
  JSON, by the first codec there is: `JSON` (Elixir 1.18), `:json` (OTP 27), `Jason`, `:jiffy`.

  All of them behave alike here, because terms are made plain before they are encoded (`AxonPort.Plain`). Null comes
  back as `nil`, objects as maps with string keys, integers exactly, whatever their size. Texts are copies: who keeps a
  word of a frame does not keep the frame.
  """

  alias AxonPort.{Error, Plain}

  @compile {:no_warn_undefined, [JSON, :json, Jason, :jiffy]}

  @codecs [JSON, :json, Jason, :jiffy]

  @doc "Encodes a term."
  @spec encode(term) :: {:ok, binary} | {:error, Error.t()}
  def encode(term), do: encode(term, codec())

  @doc "Encodes a term with one of `available/0`."
  @spec encode(term, module) :: {:ok, binary} | {:error, Error.t()}
  def encode(term, codec) do
    with {:ok, plain} <- plain(term), do: {:ok, write(plain, codec)}
  end

  @doc "The plain form of a term: the first half of `encode/1`."
  @spec plain(term) :: {:ok, Plain.t()} | {:error, Error.t()}
  def plain(term) do
    with {:error, fault} <- Plain.from(term), do: {:error, Error.new(:unencodable, Plain.message(fault))}
  end

  @doc "The text of what is plain: the other half."
  @spec write(Plain.t()) :: binary
  def write(plain), do: write(plain, codec())

  defp write(plain, codec), do: codec |> written(plain) |> IO.iodata_to_binary()

  @doc "As `encode/1`. Raises `AxonPort.Error`."
  @spec encode!(term) :: binary
  def encode!(term) do
    case encode(term) do
      {:ok, text} -> text
      {:error, error} -> raise error
    end
  end

  @doc "Decodes one JSON text."
  @spec decode(binary) :: {:ok, Plain.t()} | {:error, Error.t()}
  def decode(text), do: decode(text, codec())

  @doc "Decodes with one of `available/0`."
  @spec decode(binary, module) :: {:ok, Plain.t()} | {:error, Error.t()}
  def decode(text, codec) when is_binary(text) do
    # A codec's own way of failing is its own affair: raised, thrown or returned, it is one error here.
    {:ok, read(codec, text)}
  rescue
    exception -> undecodable(Exception.message(exception))
  catch
    _kind, reason -> undecodable(inspect(reason, limit: 5, printable_limit: 80))
  end

  defp undecodable(why), do: {:error, Error.new(:undecodable, why)}

  @doc "The codecs that this node has, the one in use first."
  @spec available() :: [module]
  def available, do: Enum.filter(@codecs, &Code.ensure_loaded?/1)

  @doc "Raises where this node has no codec, and says what to do."
  @spec ensure!() :: :ok
  def ensure! do
    codec()
    :ok
  end

  @doc "What to do where there is none."
  @spec advice() :: String.t()
  def advice do
    "Elixir 1.18 and OTP 27 have one; add jason to the dependencies otherwise, or :jiffy to the extra_applications " <>
      "of your mix.exs, for a release holds only what is named there"
  end

  # Looked up once: which modules there are does not change while a node runs.
  defp codec do
    case :persistent_term.get(__MODULE__, nil) do
      nil -> tap(first(), &:persistent_term.put(__MODULE__, &1))
      codec -> codec
    end
  end

  defp first do
    List.first(available()) || raise "AxonPort finds no JSON codec on this node: #{advice()}"
  end

  defp written(JSON, plain), do: JSON.encode_to_iodata!(plain)
  defp written(:json, plain), do: :json.encode(plain, &write_json/2)
  defp written(Jason, plain), do: Jason.encode_to_iodata!(plain)
  defp written(:jiffy, plain), do: :jiffy.encode(plain, [:use_nil])

  defp write_json(nil, _encoder), do: "null"
  defp write_json(value, encoder), do: :json.encode_value(value, encoder)

  defp read(JSON, text), do: text |> JSON.decode(:ok, string: &:binary.copy/1) |> whole()
  defp read(Jason, text), do: Jason.decode!(text, strings: :copy)
  defp read(:jiffy, text), do: :jiffy.decode(text, [:return_maps, :use_nil, :copy_strings])

  defp read(:json, text),
    do: text |> :json.decode(:ok, %{null: nil, string: &:binary.copy/1}) |> whole()

  defp whole({value, :ok, rest}), do: if(String.trim(rest) == "", do: value, else: throw(:trailing_data))
  defp whole({:error, reason}), do: throw(reason)
end
